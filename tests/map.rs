//! ARCHITECTURE.md against the sources: who uses whom, what a folder may not touch, and whether what is named exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.split('/').any(|part| matches!(part, "tests" | "benches" | "fuzz" | "e2e"))
            || matches!(name, "tests.rs" | "testing.rs")
    }

    /// The code that ships: without comments, the contents of strings, and modules for tests.
    fn code(&self) -> String {
        without_test_modules(&without_comments(&self.text))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the repository, as paths from its root.
fn files() -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("folder can be read").map(|entry| entry.expect("entry").path()) {
            let name = entry.file_name().expect("name").to_string_lossy().into_owned();
            if entry.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "node_modules") {
                    walk(&entry, found);
                }
            } else {
                let path = entry.strip_prefix(root()).expect("below the root");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn sources() -> Vec<Source> {
    let rust = files().into_iter().filter(|path| path.ends_with(".rs") && path != "tests/map.rs");
    rust.map(|path| Source { text: read(&path), path }).collect()
}

/// Comments become nothing and strings `""`, so that what is left can be searched for paths.
fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        if rest.starts_with(b"//") {
            at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |end| end + 2);
        } else if let Some(hashes) = raw_string(rest).filter(|_| !word_before || bytes[at - 1] == b'b') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = &rest[hashes + 2..];
            let end = body.windows(close.len()).position(|window| window == close.as_bytes()).unwrap_or(body.len());
            code.extend_from_slice(b"\"\"");
            at += (hashes + 2 + end + close.len()).min(rest.len());
        } else if rest[0] == b'"' {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'"' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            code.extend_from_slice(b"\"\"");
            at += (end + 1).min(rest.len());
        } else if rest[0] == b'\'' && (rest.get(1) == Some(&b'\\') || rest.get(2) == Some(&b'\'')) {
            let from = if rest.get(1) == Some(&b'\\') { 3 } else { 2 };
            let end = rest.iter().skip(from).position(|&b| b == b'\'').map_or(rest.len(), |end| from + end + 1);
            at += end;
        } else {
            code.push(rest[0]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// How many `#` a raw string that begins here has.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.strip_prefix(b"r")?.iter().take_while(|&&b| b == b'#').count();
    (rest.get(1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// Leaves out `#[cfg(test)] mod name { .. }`.
fn without_test_modules(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        let item = from["#[cfg(test)]".len()..].trim_start();
        let Some(open) =
            item.find(['{', ';']).filter(|_| item.starts_with("mod ") || item.starts_with("pub(crate) mod "))
        else {
            rest = item;
            continue;
        };
        let mut depth = 0;
        let end = item[open..].char_indices().find_map(|(i, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            (depth == 0).then_some(open + i + 1)
        });
        rest = &item[end.unwrap_or(item.len())..];
    }
    kept.push_str(rest);
    kept
}

/// Every path that begins with `crate`, `super` or `self`, braces opened: `use super::{a, b::c}` names two.
fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = matches!(tokens[at], "crate" | "super" | "self") && tokens.get(at + 1) == Some(&"::");
        if begins && (at == 0 || tokens[at - 1] != "::") {
            at = tree(&tokens, at, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn tree(tokens: &[&str], mut at: usize, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|&token| token != "}") {
                    let before = at;
                    at = tree(tokens, at, prefix, found);
                    if tokens.get(at) == Some(&"as") {
                        at += 2;
                    }
                    if tokens.get(at) == Some(&",") || at == before {
                        at += 1;
                    }
                }
                prefix.truncate(depth);
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '*') => {
                prefix.push((*word).to_owned());
                at += 1;
                if tokens.get(at) == Some(&"::") {
                    at += 1;
                    continue;
                }
                found.push(prefix.clone());
            }
            _ => found.push(prefix.clone()),
        }
        prefix.truncate(depth);
        return at;
    }
}

fn tokens(code: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        found.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    found
}

/// `engine/src/storage/wal/mod.rs` -> crate `engine`, module `storage::wal`.
fn module(path: &str) -> Option<(String, Vec<String>)> {
    let (package, inside) = path.split_once("/src/")?;
    let mut parts: Vec<String> = inside.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        parts.pop();
    }
    Some((package.to_owned(), parts))
}

/// Modules of a crate and what each names, longest module that the path leads into.
fn imports(package: &str) -> Vec<(Vec<String>, BTreeSet<Vec<String>>)> {
    let files: Vec<_> = sources().into_iter().filter(|source| !source.is_test()).collect();
    let of_package = |source: &Source| module(&source.path).filter(|(of, _)| of == package).map(|(_, module)| module);
    let modules: BTreeSet<Vec<String>> = files.iter().filter_map(of_package).collect();
    assert!(!modules.is_empty(), "no sources in {package}/src");
    let used = |source: &Source, own: &Vec<String>| {
        let named = paths(&source.code()).into_iter().filter_map(|path| resolve(own, &path));
        named
            .filter_map(|path| (0..=path.len()).rev().map(|n| path[..n].to_vec()).find(|p| modules.contains(p)))
            .collect()
    };
    files.iter().filter_map(|source| of_package(source).map(|own| (own.clone(), used(source, &own)))).collect()
}

fn resolve(own: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut at = own.to_vec();
    for (i, part) in path.iter().enumerate() {
        match part.as_str() {
            "crate" if i == 0 => at.clear(),
            "self" => {}
            "super" => {
                at.pop()?;
            }
            name => at.push(name.to_owned()),
        }
    }
    Some(at)
}

/// Groups of sibling modules, anywhere below `folder`, that use each other in a circle. A parent and its child are none.
fn circles(package: &str, folder: &[&str]) -> Vec<String> {
    let mut levels: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, targets) in imports(package) {
        for to in targets {
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let inside = shared >= folder.len() && from.iter().zip(folder).all(|(a, b)| a == b);
            if let (true, Some(a), Some(b)) = (inside, from.get(shared), to.get(shared)) {
                levels.entry(from[..shared].to_vec()).or_default().entry(a.clone()).or_default().insert(b.clone());
            }
        }
    }
    let mut found = BTreeSet::new();
    for (parent, graph) in levels {
        for module in graph.keys() {
            let ahead = reachable(&graph, module);
            let circle: Vec<_> =
                ahead.iter().filter(|other| reachable(&graph, other).contains(module)).cloned().collect();
            if !circle.is_empty() {
                found.insert(format!("{package}/src/{}: {}", parent.join("/"), circle.join(" <-> ")));
            }
        }
    }
    found.into_iter().collect()
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(next) = open.pop() {
        for to in graph.get(&next).into_iter().flatten() {
            if seen.insert(to.clone()) {
                open.push(to.clone());
            }
        }
    }
    seen
}

/// Files below one of `folders` and below none of `except` whose shipped code has one of `words`.
fn mentions(folders: &[&str], except: &[&str], words: &[&str]) -> Vec<String> {
    let below = |path: &str, folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    let watched = sources().into_iter().filter(|s| !s.is_test() && below(&s.path, folders) && !below(&s.path, except));
    let found = watched.flat_map(|source| {
        let code = source.code();
        let hits: Vec<_> = words.iter().filter(|word| code.contains(**word)).collect();
        hits.into_iter().map(|word| format!("{}: {word}", source.path)).collect::<Vec<_>>()
    });
    found.collect()
}

#[track_caller]
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// The rows of the map that are crates: folder, and what it uses.
fn map() -> Vec<(String, BTreeSet<String>)> {
    let text = read("ARCHITECTURE.md");
    let table = text.split("## The map").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a map");
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let folder = cells.get(1)?.strip_prefix('`')?.strip_suffix("/`")?;
        let uses = cells.get(3)?.split(',').map(|cell| cell.trim().to_owned());
        Some((folder.to_owned(), uses.filter(|name| name != "-").collect()))
    });
    rows.collect()
}

/// The crates of ours that a Cargo.toml names under `[dependencies]`.
fn dependencies(package: &str) -> BTreeSet<String> {
    let text = read(&format!("{package}/Cargo.toml"));
    let section = text.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or_default();
    let ours = section.lines().filter_map(|line| line.strip_prefix("logstack-"));
    ours.map(|name| name.split(['.', ' ', '=']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_crate_uses_what_the_map_says_and_only_rows_above() {
    let map = map();
    let mut above = BTreeSet::new();
    for (folder, uses) in &map {
        let is_crate = root().join(folder).join("src/lib.rs").exists();
        if is_crate {
            assert_eq!(&dependencies(folder), uses, "{folder}/Cargo.toml against the map in ARCHITECTURE.md");
            none(&format!("{folder} uses rows below"), &uses.difference(&above).cloned().collect::<Vec<_>>());
        }
        above.insert(folder.clone());
    }
    let crates = files().into_iter().filter_map(|path| path.strip_suffix("/src/lib.rs").map(str::to_owned));
    none("not in the map", &crates.filter(|name| !above.contains(name) && !name.contains('/')).collect::<Vec<_>>());
}

#[test]
fn storage_knows_nothing_of_what_is_around_it() {
    let around = ["ingest", "query", "http", "patterns", "tail", "server"];
    let wrong = imports("engine").into_iter().filter(|(from, _)| from.first().is_some_and(|top| top == "storage"));
    let wrong = wrong.flat_map(|(from, targets)| {
        let out = targets.into_iter().filter(|to| to.first().is_some_and(|top| around.contains(&top.as_str())));
        out.map(|to| format!("{} -> {}", from.join("::"), to.join("::"))).collect::<Vec<_>>()
    });
    none("storage uses", &wrong.collect::<Vec<_>>());
}

#[test]
fn folders_without_circles() {
    let folders: [(&str, &[&str]); 2] = [("collector", &["ship"]), ("collector", &["buffer"])];
    none("circles", &folders.iter().flat_map(|(package, folder)| circles(package, folder)).collect::<Vec<_>>());
}

#[test]
fn http_is_where_http_belongs() {
    // Listeners and the collector's push API speak HTTP, too.
    let except = [
        "engine/src/http/",
        "engine/src/server/listen.rs",
        "serve/src/",
        "collector/src/http.rs",
        "collector/src/listen.rs",
        "collector/src/receive/push/",
        "operator/src/requests.rs",
        "operator/src/serve.rs",
    ];
    none("axum outside of its folders", &mentions(&[""], &except, &["axum::"]));
}

#[test]
fn pure_folders_touch_nothing() {
    let pure = ["operator/src/build/", "operator/src/desired/", "operator/src/status/", "collector/src/policy/"];
    let words = ["std::fs", "SystemTime", "Instant::now", "kube::Client", "std::thread", "tokio::spawn", "std::env"];
    none("not pure", &mentions(&pure, &[], &words));
}

#[test]
fn storage_reaches_the_disk_through_its_trait() {
    // `Instant` measures how long work took, which decides nothing that is on disk.
    let words = ["std::fs", "fs::File", "SystemTime::now"];
    none("past `Disk` and `Clock`", &mentions(&["engine/src/storage/"], &["engine/src/storage/disk/"], &words));
}

/// Whether a file or folder ends with this path: texts name `wal/mod.rs` where the folder is clear.
fn exists(all: &[String], named: &str) -> bool {
    let named = named.trim_end_matches('/').trim_start_matches("./");
    let tail = format!("/{named}");
    all.iter().any(|path| {
        let path = format!("/{path}");
        path.ends_with(&tail) || path.contains(&format!("{tail}/"))
    })
}

#[test]
fn what_documents_name_exists() {
    let all = files();
    let ours = |path: &&String| path.ends_with(".md") && !path.starts_with("tests/");
    let mut missing = Vec::new();
    for document in all.iter().filter(ours) {
        let folder = Path::new(document).parent().expect("a folder");
        let text = read(document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            let remote = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !remote && !root().join(folder).join(target).exists() {
                missing.push(format!("{document}: ]({target})"));
            }
        }
        let quoted = text.split('`').skip(1).step_by(2).filter(|quoted| quoted.ends_with(".rs"));
        let plain = quoted.filter(|quoted| quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)));
        missing.extend(plain.filter(|path| !exists(&all, path)).map(|path| format!("{document}: `{path}`")));
    }
    none("named and not there", &missing);
}

/// Pages that comments cite and that are not in the repository yet: this list only shrinks.
const CITED: [&str; 2] = ["logql.md", "http-api.md"];

#[test]
fn what_comments_name_exists() {
    let all = files();
    let mut missing = Vec::new();
    for source in sources() {
        let lines = source.text.lines().map(str::trim_start).filter(|line| line.starts_with("//"));
        for word in lines.flat_map(str::split_whitespace) {
            let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let file = word.ends_with(".rs") || word.ends_with(".md");
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if file && plain && !CITED.contains(&word) && !exists(&all, word) {
                missing.push(format!("{}: {word}", source.path));
            }
        }
    }
    none("comments name", &missing);
}

mod readings {
    use super::{circles, paths, resolve, without_comments, without_test_modules};

    #[test]
    fn a_tree_of_paths_is_opened() {
        let found = paths("use super::{a, b::{C, d::E as F}, *}; fn f() { crate::x::y::<T>() } use std::fs;");
        let found: Vec<_> = found.iter().map(|path| path.join("::")).collect();
        assert_eq!(found, ["super::a", "super::b::C", "super::b::d::E", "super::*", "crate::x::y"]);
    }

    #[test]
    fn comments_strings_and_tests_are_no_code() {
        let code = without_comments("a(\"crate::x // \\\" y\"); // crate::z\nb('\"', r#\"crate::\"#, 'a')");
        assert_eq!(code.replace(char::is_whitespace, ""), "a(\"\");b(,\"\",)");
        let code = without_test_modules("fn a() {} #[cfg(test)] mod tests { mod x { } } #[cfg(test)] mod u; fn b() {}");
        assert!(code.contains("fn a") && code.contains("fn b") && !code.contains("mod"), "{code}");
    }

    #[test]
    fn super_goes_up() {
        let own = ["storage".to_owned(), "wal".to_owned()];
        let path = ["super", "part", "Part"].map(str::to_owned);
        assert_eq!(resolve(&own, &path), Some(["storage", "part", "Part"].map(str::to_owned).to_vec()));
    }

    /// Guards against a reader that finds nothing anywhere.
    #[test]
    fn imports_are_found() {
        let found = super::imports("engine").into_iter().map(|(_, targets)| targets.len()).sum::<usize>();
        assert!(found > 100, "{found}");
        assert!(circles("go", &["no such folder"]).is_empty());
    }
}
