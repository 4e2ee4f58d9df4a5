//! The commands of a page of docs/, in its order, as a reader types them.

use std::path::Path;

use crate::tools::root;

/// One command, which may go over several lines.
#[derive(Debug)]
pub struct Command {
    /// Title of its section.
    pub section: String,
    /// As it is on the page.
    pub text: String,
    /// The next one does the same in another way: `# or` is between them.
    pub has_alternative: bool,
}

/// The commands of the blocks that are shell.
pub fn commands(page: &Path) -> Vec<Command> {
    let text = std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let mut out: Vec<Command> = Vec::new();
    let (mut section, mut is_shell, mut is_open) = (String::new(), false, false);
    let mut here_document: Option<String> = None;
    for line in text.lines() {
        match line {
            _ if !is_shell => {
                if let Some(title) = line.strip_prefix("## ") {
                    title.clone_into(&mut section);
                }
                is_shell = line == "```sh";
                continue;
            }
            "```" => {
                assert!(!is_open, "a block ends within a command: {:?}", out.last());
                is_shell = false;
                continue;
            }
            "# or" => {
                out.last_mut().expect("a command before `# or`").has_alternative = true;
                continue;
            }
            _ => {}
        }
        match out.last_mut().filter(|_| is_open) {
            Some(command) => {
                command.text.push('\n');
                command.text.push_str(line);
            }
            None => {
                let text = line.to_owned();
                out.push(Command { section: section.clone(), text, has_alternative: false });
                here_document = line.split_once("<<'").map(|(_, rest)| rest.trim_end_matches('\'').to_owned());
            }
        }
        is_open = match &here_document {
            Some(end) => line != end,
            None => line.ends_with('\\'),
        };
    }
    out
}
