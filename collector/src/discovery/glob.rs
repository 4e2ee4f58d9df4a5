//! Expands `__path__` patterns to files.
//!
//! `*` and `?` stay within a path segment, `[a-z]` and `{a,b}` as in a shell, `**` as a whole segment is any depth. `*`
//! matches names with a leading dot; symbolic links are followed.

use std::fs;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// Deepest folder below the fixed part of a pattern with `**`; keeps a loop of symbolic links from running for ever.
const DEPTH_MAX: usize = 32;

/// A compiled `__path__` pattern.
#[derive(Debug, Clone)]
pub struct PathGlob {
    /// The folders before the first wildcard.
    root: PathBuf,
    matcher: GlobMatcher,
    /// Segments below the root, `None` when `**` makes it any number.
    depth: Option<usize>,
}

impl PathGlob {
    /// Compiles `pattern`; a relative one is taken from the current folder.
    pub fn new(pattern: &str) -> Result<Self, globset::Error> {
        let absolute = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
            let pattern = pattern.trim_start_matches("./");
            format!("{}/{pattern}", current.display())
        };
        let matcher = GlobBuilder::new(&absolute).literal_separator(true).build()?.compile_matcher();
        let mut root = PathBuf::new();
        let mut rest = 0;
        for component in Path::new(&absolute).components() {
            let is_fixed = match component {
                Component::Normal(name) => !name.to_string_lossy().contains(['*', '?', '[', '{']),
                _ => true,
            };
            if rest == 0 && is_fixed {
                root.push(component);
            } else {
                rest += 1;
            }
        }
        let depth = (!absolute.contains("**")).then_some(rest);
        Ok(Self { root, matcher, depth })
    }

    /// True when `path` matches.
    pub fn matches(&self, path: &Path) -> bool {
        self.matcher.is_match(path)
    }

    /// All regular files that match, sorted. Folders that cannot be read hold none.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        match self.depth {
            Some(0) => found.extend(self.root.is_file().then(|| self.root.clone())),
            depth => self.walk(&self.root, depth.unwrap_or(DEPTH_MAX), &mut found),
        }
        found.sort();
        found
    }

    /// Folders whose changes may change [`Self::files`]: what a watcher has to watch.
    pub fn folders(&self) -> Vec<PathBuf> {
        fn below(folder: &Path, levels: usize, out: &mut Vec<PathBuf>) {
            out.push(folder.to_owned());
            if levels == 0 {
                return;
            }
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    below(&entry.path(), levels - 1, out);
                }
            }
        }
        let mut folders = Vec::new();
        match self.depth {
            Some(0) => folders.extend(self.root.parent().map(Path::to_owned)),
            depth => below(&self.root, depth.unwrap_or(DEPTH_MAX) - 1, &mut folders),
        }
        folders
    }

    fn walk(&self, folder: &Path, levels: usize, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // `metadata` follows symbolic links: Docker's pod logs are links.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_file() && self.matches(&path) {
                found.push(path);
            } else if metadata.is_dir() && levels > 1 {
                self.walk(&path, levels - 1, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_files_by_pattern() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.log", "b.txt", "x/c.log", "x/y/d.log", ".hidden.log", "x/y/e.log.gz"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "line\n").unwrap();
        }
        let check = |pattern: &str, want: &[&str]| {
            let glob = PathGlob::new(&format!("{}/{pattern}", folder.path().display())).unwrap();
            let found: Vec<String> = glob
                .files()
                .iter()
                .map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string())
                .collect();
            assert_eq!(found, want, "{pattern}");
        };
        check("a.log", &["a.log"]);
        check("missing.log", &[]);
        check("*.log", &[".hidden.log", "a.log"]);
        check("*/*.log", &["x/c.log"]);
        check("**/*.log", &[".hidden.log", "a.log", "x/c.log", "x/y/d.log"]);
        check("x/**/*.{log,gz}", &["x/c.log", "x/y/d.log", "x/y/e.log.gz"]);
        check("[ab].*", &["a.log", "b.txt"]);
    }
}
