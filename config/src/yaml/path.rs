//! Paths of keys: `scrape_configs[0].labels["a.b"]`, as findings print them and `--set` takes them.

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Key(String),
    Item(usize),
}

/// `a.b[0]["x.y"]` -> its steps; `None` when it is no path.
pub(super) fn parse_path(path: &str) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            // Written by `{:?}`: a quote inside is escaped.
            let end = quoted.match_indices("\"]").map(|(at, _)| at).find(|&at| !quoted[..at].ends_with('\\'))?;
            segments.push(Segment::Key(quoted[..end].replace("\\\"", "\"").replace("\\\\", "\\")));
            rest = &quoted[end + 2..];
        } else if let Some(item) = rest.strip_prefix('[') {
            let (digits, after) = item.split_once(']')?;
            segments.push(Segment::Item(digits.parse().ok()?));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            segments.push(Segment::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            if rest.is_empty() {
                return None;
            }
        }
    }
    Some(segments)
}

/// The path without its last step; empty for a step of the root.
pub(super) fn parent(path: &str) -> &str {
    path.rfind(['.', '[']).map_or("", |at| &path[..at])
}

/// Adds a key to a path, quoted where it must be.
pub(super) fn push_key(path: &mut String, key: &str) {
    if key.is_empty() || key.contains(['.', '[', ']', '"', ' ']) {
        path.push_str(&format!("[{key:?}]"));
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_paths() {
        #[track_caller]
        fn check(path: &str, want: Option<&[&str]>) {
            let got = parse_path(path).map(|segments| segments.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>());
            assert_eq!(got, want.map(|want| want.iter().map(|&s| s.to_owned()).collect()), "{path}");
        }
        check("a.b", Some(&["Key(\"a\")", "Key(\"b\")"]));
        check("a[0].b", Some(&["Key(\"a\")", "Item(0)", "Key(\"b\")"]));
        check("a[\"x.y\"].b", Some(&["Key(\"a\")", "Key(\"x.y\")", "Key(\"b\")"]));
        check("", Some(&[]));
        check(".a", None);
        check("a..b", None);
        check("a.", None);
        check("a[x]", None);
    }
}
