//! Any text is read or refused, never a panic; what is taken prints and reads back.
//!
//! `cargo +nightly fuzz run load` in `config/`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use logstack_config::{CollectorConfig, EngineConfig, FileKind, Options, check_file, detect, load};

fuzz_target!(|text: &str| {
    let lookup = |name: &str| (name.len() % 2 == 0).then(|| name.to_owned());
    let options = Options { env: Some(&lookup), set: &[] };
    check_file(text, "f", detect(text, "f"), &options);
    check_file(text, "f", FileKind::Overrides, &Options::default());
    if let Ok((config, _)) = load::<EngineConfig>(text, "f") {
        let printed = serde_yaml::to_string(&config).expect("plain data prints");
        let (again, _) = load::<EngineConfig>(&printed, "printed").expect("what was printed is read");
        assert_eq!(again, config);
    }
    let _ = load::<CollectorConfig>(text, "f");
});
