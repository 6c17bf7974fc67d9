//! What was uploaded in a form: enough to say so in an answer. The reader trusts its callers.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A body of `multipart/form-data`, in its parts.
pub(crate) struct Form<'a> {
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    name: &'a str,
    filename: Option<&'a str>,
    content: &'a [u8],
}

impl<'a> Form<'a> {
    /// `None` where the media type is another.
    pub(crate) fn parse(content_type: &str, body: &'a [u8]) -> Option<Self> {
        let rest = content_type.strip_prefix("multipart/form-data")?;
        let (_, boundary) = rest.split_once("boundary=")?;
        let boundary = match boundary.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => boundary.split(';').next()?.trim(),
        };
        let delimiter = format!("\r\n--{boundary}");
        // The first delimiter may stand at the very beginning.
        let first = &delimiter.as_bytes()[2..];
        let mut rest = match body.starts_with(first) {
            true => &body[first.len()..],
            false => &body[find(body, delimiter.as_bytes())? + delimiter.len()..],
        };
        let mut parts = Vec::new();
        while !rest.starts_with(b"--") {
            let end = find(rest, delimiter.as_bytes())?;
            parts.push(Part::parse(&rest[2..end])?);
            rest = &rest[end + delimiter.len()..];
        }
        Some(Self { parts })
    }

    /// A plain field.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let part = self.parts.iter().find(|part| part.name == name)?;
        std::str::from_utf8(part.content).ok()
    }

    /// Whether there is such a part, of whatever content.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.name == name)
    }

    /// Everything that came, with hashes of contents.
    pub(crate) fn description(&self) -> Value {
        let parts = self.parts.iter().map(|part| {
            let hash: String = Sha256::digest(part.content)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            json!({
                "name": part.name,
                "filename": part.filename,
                "bytes": part.content.len(),
                "sha256": hash,
            })
        });
        parts.collect()
    }
}

impl<'a> Part<'a> {
    fn parse(part: &'a [u8]) -> Option<Self> {
        let end = find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&part[..end]).ok()?;
        let disposition = head.lines().find(|line| {
            line.to_ascii_lowercase()
                .starts_with("content-disposition:")
        })?;
        Some(Self {
            name: parameter(disposition, " name=")?,
            filename: parameter(disposition, " filename="),
            content: &part[end + 4..],
        })
    }
}

fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = header.split_once(name)?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split(';').next(),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
            Content-Type: audio/wav\r\n\r\n\0\r\n\r\n--y\r\n--x\r\ncontent-disposition: form-data; \
            name=model\r\n\r\nwhisper\r\n--x--\r\n";
        let form = Form::parse("multipart/form-data; boundary=x", body).unwrap();
        assert_eq!(form.text("model"), Some("whisper"));
        let description = form.description();
        assert_eq!(description[0]["filename"], "a.wav");
        assert_eq!(description[0]["bytes"], 8);
        assert!(Form::parse("application/json", body).is_none());
    }
}
