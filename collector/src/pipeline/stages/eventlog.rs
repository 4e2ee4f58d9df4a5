//! `eventlogmessage`: the sections of a Windows event message become extracted values.

use std::sync::Arc;

use logstack_config::collector::stage::EventLogMessageStage;

use crate::discovery::relabel::sanitized;
use crate::pipeline::entry::Entry;
use crate::pipeline::extracted::Kind;

/// The stage.
#[derive(Debug)]
pub struct EventLog {
    source: String,
    overwrites: bool,
    drops_invalid: bool,
}

impl EventLog {
    /// Of its settings.
    pub fn new(config: &EventLogMessageStage) -> Self {
        Self {
            source: config.source.clone(),
            overwrites: config.overwrite_existing,
            drops_invalid: config.drop_invalid_labels,
        }
    }

    /// Runs the stage: `Key: value` in lines that end with CRLF.
    pub fn run(&self, entry: &mut Entry) {
        let Some(message) = entry.string(&self.source).map(str::to_owned) else { return };
        for line in message.split("\r\n") {
            let Some((key, value)) = line.split_once(':') else { continue };
            let key = key.trim();
            let mut name = sanitized(key);
            if key.is_empty() || (self.drops_invalid && name != key) {
                continue;
            }
            if !self.overwrites && entry.value(&name).is_some() {
                name.push_str("_extracted");
            }
            entry.extracted.set(&Arc::from(name), Kind::Text, value.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::testing::check;

    #[test]
    fn takes_sections() {
        check(
            "- json: {expressions: {message: , Id: }}\n- eventlogmessage: {}\n- labels: {Account_Name: , Id: , Id_extracted: }\n- template: {source: o, template: x}\n- output: {source: o}",
            &[r#"{"message":"Head\r\nAccount Name: me\r\nId: 2\r\n","Id":"1"}"#],
            &[r#"{Account_Name="me", Id="1", Id_extracted="2"} 0 x"#],
        );
    }
}
