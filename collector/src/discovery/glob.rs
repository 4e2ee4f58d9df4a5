//! Expands `__path__` patterns to files.
//!
//! `*` and `?` stay within a path segment, `[a-z]` and `{a,b}` as in a shell, `**` as a whole segment is any depth. `*`
//! matches names with a leading dot; symbolic links are followed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use globset::{GlobBuilder, GlobMatcher};

/// Deepest folder below the fixed part of a pattern with `**`; keeps a loop of symbolic links from running for ever.
const DEPTH_MAX: usize = 32;

/// A compiled `__path__` pattern.
#[derive(Debug, Clone)]
pub struct PathGlob {
    pattern: String,
    /// The folders before the first wildcard.
    root: PathBuf,
    matcher: GlobMatcher,
    /// A matcher for each part below the root; `None`: depth is not fixed, everything below is looked at.
    parts: Option<Vec<Part>>,
}

/// One part of a path.
#[derive(Debug, Clone)]
enum Part {
    /// This very name.
    Literal(String),
    /// `*` and an end, such as a pod's uid: by far the most frequent.
    EndsWith(String),
    Glob(GlobMatcher),
}

impl Part {
    fn new(text: &str) -> Result<Self, globset::Error> {
        if !has_wildcard(text) {
            return Ok(Self::Literal(text.to_owned()));
        }
        match text.strip_prefix('*') {
            Some(end) if !has_wildcard(end) => Ok(Self::EndsWith(end.to_owned())),
            _ => Ok(Self::Glob(GlobBuilder::new(text).literal_separator(true).build()?.compile_matcher())),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Literal(text) => name == text,
            Self::EndsWith(end) => name.ends_with(end.as_str()),
            Self::Glob(glob) => glob.is_match(name),
        }
    }
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

/// A folder that changed so shortly before it was listed may have changed again within the same tick of its clock.
const SETTLED: Duration = Duration::from_secs(2);

/// Folders that were listed in one look for files: patterns of many targets share them, and the next look takes over
/// those that have not changed.
#[derive(Debug, Default)]
pub struct Folders {
    listed: HashMap<PathBuf, Listed>,
    /// Of the look before.
    known: HashMap<PathBuf, Listed>,
}

#[derive(Debug)]
struct Listed {
    names: Arc<Vec<Name>>,
    /// When the folder changed last; `None`: it is listed anew each time.
    modified: Option<SystemTime>,
}

#[derive(Debug)]
struct Name {
    name: String,
    is_folder: bool,
}

impl Folders {
    /// Another look begins.
    pub fn look_again(&mut self) {
        self.known = std::mem::take(&mut self.listed);
    }

    fn list(&mut self, folder: &Path) -> Arc<Vec<Name>> {
        if let Some(listed) = self.listed.get(folder) {
            return listed.names.clone();
        }
        let now = SystemTime::now();
        let modified = fs::metadata(folder).and_then(|metadata| metadata.modified()).ok();
        if let Some(known) =
            self.known.remove(folder).filter(|known| known.modified.is_some() && known.modified == modified)
        {
            let names = known.names.clone();
            self.listed.insert(folder.to_owned(), known);
            return names;
        }
        // A link's target may change without the folder.
        let mut has_links = false;
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_folder = match entry.file_type() {
                // Docker's pod logs are links.
                Ok(kind) if kind.is_symlink() => {
                    has_links = true;
                    fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir())
                }
                Ok(kind) => kind.is_dir(),
                Err(_) => continue,
            };
            names.push(Name { name, is_folder });
        }
        let names = Arc::new(names);
        let is_settled = |at: &SystemTime| !has_links && now.duration_since(*at).is_ok_and(|since| since >= SETTLED);
        let listed = Listed { names: names.clone(), modified: modified.filter(is_settled) };
        self.listed.insert(folder.to_owned(), listed);
        names
    }

    /// The folders: what a watcher has to watch.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.listed.keys().map(PathBuf::as_path)
    }
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
        let mut root = PathBuf::from("/");
        let mut below: Vec<&str> = Vec::new();
        for part in absolute.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if below.is_empty() && !has_wildcard(part) {
                root.push(part);
            } else {
                below.push(part);
            }
        }
        // A brace may reach over several parts: `{a/b,c}/*.log`.
        let is_whole = |part: &&str| part.matches('{').count() == part.matches('}').count() && *part != "**";
        let parts = match below.iter().all(is_whole) {
            true => Some(below.iter().map(|part| Part::new(part)).collect::<Result<_, _>>()?),
            false => None,
        };
        Ok(Self { pattern: absolute, root, matcher, parts })
    }

    /// The pattern, made absolute.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// True when `path` matches.
    pub fn matches(&self, path: &Path) -> bool {
        self.matcher.is_match(path)
    }

    /// All files that match, sorted. Folders that cannot be read hold none.
    pub fn files(&self, folders: &mut Folders) -> Vec<PathBuf> {
        let mut found = Vec::new();
        match &self.parts {
            Some(parts) if parts.is_empty() => {
                if let Some(parent) = self.root.parent() {
                    folders.list(parent);
                }
                found.extend(self.root.is_file().then(|| self.root.clone()));
            }
            Some(parts) => walk_parts(&self.root, parts, folders, &mut found),
            None => self.walk(&self.root, DEPTH_MAX, folders, &mut found),
        }
        found.sort();
        found
    }

    fn walk(&self, folder: &Path, levels: usize, folders: &mut Folders, found: &mut Vec<PathBuf>) {
        for entry in &*folders.list(folder) {
            let path = folder.join(&entry.name);
            if !entry.is_folder && self.matches(&path) {
                found.push(path);
            } else if entry.is_folder && levels > 1 {
                self.walk(&path, levels - 1, folders, found);
            }
        }
    }
}

fn walk_parts(folder: &Path, parts: &[Part], folders: &mut Folders, found: &mut Vec<PathBuf>) {
    let [part, rest @ ..] = parts else { return };
    for entry in folders.list(folder).iter().filter(|entry| part.matches(&entry.name)) {
        let path = folder.join(&entry.name);
        match (rest.is_empty(), entry.is_folder) {
            (true, false) => found.push(path),
            (false, true) => walk_parts(&path, rest, folders, found),
            _ => {}
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
                .files(&mut Folders::default())
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
        check("*y/*.log", &[]);
        check("x/*y/*.log", &["x/y/d.log"]);
        check("{x/y,z}/*.log", &["x/y/d.log"]);
    }

    #[test]
    fn lists_again_what_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (old, glob) =
            (folder.path().join("a.log"), PathGlob::new(&format!("{}/*.log", folder.path().display())).unwrap());
        fs::write(&old, "").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        let mut folders = Folders::default();
        let look = |folders: &mut Folders, want: usize| {
            folders.look_again();
            assert_eq!(glob.files(folders).len(), want);
        };
        look(&mut folders, 1);
        // Changed a moment ago: the same time may stand for two changes.
        fs::write(folder.path().join("b.log"), "").unwrap();
        look(&mut folders, 2);
        fs::File::open(folder.path()).unwrap().set_modified(long_ago).unwrap();
        look(&mut folders, 2);
        fs::write(folder.path().join("c.log"), "").unwrap();
        fs::File::open(folder.path()).unwrap().set_modified(long_ago).unwrap();
        look(&mut folders, 2); // the listing of before is taken over
        fs::File::open(folder.path()).unwrap().set_modified(long_ago + Duration::from_secs(1)).unwrap();
        look(&mut folders, 3);
    }
}
