//! Starts the engine with a configuration file, for tests by hand: `serve CONFIG DATA_DIR ADDRESS`.

use std::path::PathBuf;

use logstack_config::EngineConfig;
use logstack_engine::{Server, ServerOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: serve CONFIG DATA_DIR ADDRESS";
    let file = args.next().ok_or(usage)?;
    let data_dir = PathBuf::from(args.next().ok_or(usage)?);
    let listen = args.next().ok_or(usage)?.parse()?;
    let text = std::fs::read_to_string(&file)?;
    let (config, _) = logstack_config::load::<EngineConfig>(&text, &file).map_err(|errors| errors.to_string())?;
    let server = Server::start(ServerOptions { config, listen, data_dir, set_log_level: None }).await?;
    eprintln!("listening on {}", server.address());
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = server.stop_wanted() => {}
    }
    server.shutdown().await?;
    Ok(())
}
