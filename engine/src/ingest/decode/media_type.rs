//! `Content-Type`, as far as a push needs it: is it JSON, and is it well formed.
//!
//! Source: RFC 2045 section 5.1; the texts are those of Go's `mime.ParseMediaType`, which clients have seen so far.

use super::Error;

/// The media type of `header` in lower case, without its parameters.
///
/// # Errors
/// [`Error::Malformed`] when there is none, or the header is malformed.
pub fn parse(header: &str) -> Result<String, Error> {
    let (media_type, mut parameters) = match header.split_once(';') {
        Some((media_type, parameters)) => (media_type, Some(parameters)),
        None => (header, None),
    };
    let media_type = media_type.trim().to_ascii_lowercase();
    if media_type.is_empty() {
        return Err(Error::malformed("mime: no media type"));
    }
    let (kind, subtype) = match media_type.split_once('/') {
        Some((kind, subtype)) => (kind, Some(subtype)),
        None => (media_type.as_str(), None),
    };
    if !is_token(kind) {
        return Err(Error::malformed("mime: expected slash after first token"));
    }
    match subtype {
        Some("") => return Err(Error::malformed("mime: expected token after slash")),
        Some(subtype) if !is_token(subtype) => {
            return Err(Error::malformed("mime: unexpected content after media subtype"));
        }
        _ => {}
    }
    while let Some(text) = parameters {
        // A trailing semicolon is common and harmless.
        if text.trim().is_empty() {
            break;
        }
        parameters = skip_parameter(text).ok_or_else(|| Error::malformed("mime: invalid media parameter"))?;
    }
    Ok(media_type)
}

/// What follows the `name=value` at the start of `text` and its semicolon; `None` inside when nothing follows.
fn skip_parameter(text: &str) -> Option<Option<&str>> {
    let (name, value) = text.trim_start().split_once('=')?;
    if !is_token(name) {
        return None;
    }
    let rest = match value.strip_prefix('"') {
        Some(quoted) => {
            let mut escaped = false;
            let end = quoted.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })?;
            &quoted[end + 1..]
        }
        None => {
            let len = value.find(|c: char| c == ';' || c.is_ascii_whitespace()).unwrap_or(value.len());
            if !is_token(&value[..len]) {
                return None;
            }
            &value[len..]
        }
    };
    match rest.trim_start() {
        "" => Some(None),
        rest => rest.strip_prefix(';').map(Some),
    }
}

/// RFC 2045 `token`: visible ASCII without separators.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_content_types() {
        #[track_caller]
        fn check(header: &str, want: Result<&str, &str>) {
            let got = parse(header).map_err(|error| error.to_string());
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{header:?}");
        }
        check("application/json", Ok("application/json"));
        check(" Application/JSON ; charset=utf-8", Ok("application/json"));
        check("application/json;", Ok("application/json"));
        check("application/json; a=b; c=\"d;\\\"e\" ; ", Ok("application/json"));
        check("text", Ok("text"));
        check("", Err("mime: no media type"));
        check("; charset=utf-8", Err("mime: no media type"));
        check("application/", Err("mime: expected token after slash"));
        check("application/json/x", Err("mime: unexpected content after media subtype"));
        check("appli cation/json", Err("mime: expected slash after first token"));
        check("application/json; charset", Err("mime: invalid media parameter"));
        check("application/json; charset=", Err("mime: invalid media parameter"));
        check("application/json; charset=utf-8 x", Err("mime: invalid media parameter"));
        check("application/json; a=\"open", Err("mime: invalid media parameter"));
    }
}
