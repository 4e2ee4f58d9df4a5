//! Replacement templates: `$1`, `$name`, `${name}`, `$$`, as Go's `Regexp.Expand` reads them.

use regex::bytes::Captures;

use super::NamedRegex;

/// Appends `template` to `out` with the references to groups replaced by what `captures` caught.
///
/// `$name` takes the longest run of letters, digits and `_`: `$1x` is the group called `1x`, not `${1}x`. An unknown
/// group is empty, a malformed reference stays as it is. Of several groups with one name the first that took part in
/// the match wins.
///
/// Source: <https://pkg.go.dev/regexp#Regexp.Expand>
pub fn expand(regex: &NamedRegex, captures: &Captures<'_>, template: &str, out: &mut Vec<u8>) {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push(b'$');
            rest = after;
            continue;
        }
        let Some((name, after)) = reference(rest) else {
            out.push(b'$');
            continue;
        };
        rest = after;
        let group = match name.parse::<usize>() {
            // Go takes all-digit names as numbers, even where a group has that name.
            Ok(index) if !name.starts_with('+') && (name.len() == 1 || !name.starts_with('0')) => captures.get(index),
            _ => named(regex, captures, name),
        };
        if let Some(group) = group {
            out.extend_from_slice(group.as_bytes());
        }
    }
    out.extend_from_slice(rest.as_bytes());
}

fn named<'t>(regex: &NamedRegex, captures: &Captures<'t>, name: &str) -> Option<regex::bytes::Match<'t>> {
    let indexes = regex.names.iter().enumerate().filter(|(_, known)| known.as_deref() == Some(name));
    indexes.filter_map(|(index, _)| captures.get(index)).next()
}

/// The name behind a dollar and what follows the reference.
fn reference(text: &str) -> Option<(&str, &str)> {
    let is_name = |c: char| c == '_' || c.is_alphanumeric();
    if let Some(braced) = text.strip_prefix('{') {
        let end = braced.find(|c| !is_name(c)).unwrap_or(braced.len());
        let after = braced[end..].strip_prefix('}')?;
        return (end > 0).then_some((&braced[..end], after));
    }
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    (end > 0).then_some(text.split_at(end))
}
