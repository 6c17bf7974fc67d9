//! Finds the part `model` in a body of `multipart/form-data` (RFC 7578 and RFC 2046, section 5.1)
//! without changing or copying anything.
//!
//! Two programs read this body: the gateway, and the provider, whose parser may be laxer. What one
//! of them could take for another model than the other did is refused here, so that nobody reaches
//! a model that isn't mapped: a line that begins like a delimiter and isn't one, a second `model`,
//! line ends other than CRLF where lines matter. No program writes such things by accident.

use std::ops::Range;

use derive_more::{Display, Error};
use memchr::memmem;

/// The longest head of a part. Real ones have some two hundred bytes.
const MAX_HEAD: usize = 8 * 1024;

const CRLF: &[u8] = b"\r\n";

/// Why the model can't be found. Never repeats the body, which may be confidential.
#[derive(Clone, Copy, Debug, Display, Error, PartialEq, Eq)]
pub(super) enum FormError {
    /// It is of another media type.
    #[display("it is not multipart/form-data")]
    NotAForm,
    /// The media type's parameters don't name one usable boundary.
    #[display("Content-Type must name one boundary of 1 to 70 characters")]
    Boundary,
    /// It breaks the grammar.
    #[display("{problem} at byte {at}")]
    Malformed { problem: &'static str, at: usize },
    /// No part is called `model`.
    #[display("it has no part `model`")]
    NoModel,
    /// Several are.
    #[display("it has several parts `model`")]
    SeveralModels,
    /// The part is a file, and many programs keep files apart from fields.
    #[display("the part `model` is a file")]
    ModelIsFile,
}

type Result<T> = std::result::Result<T, FormError>;

/// Where the part `model` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelPart {
    /// Its content.
    pub(super) content: Range<usize>,
    /// The value of its own `Content-Length`, which some clients write.
    pub(super) length: Option<Range<usize>>,
}

/// Checks a whole body, and finds the one part that is called `model`.
pub(super) fn find_model(content_type: &[u8], body: &[u8]) -> Result<ModelPart> {
    let delimiter = [b"--", boundary(content_type)?].concat();
    let form = Form {
        body,
        delimiter: memmem::Finder::new(&delimiter),
    };
    let mut model = None;
    let mut line = form.first_line()?;
    while !line.is_last {
        let head = form.head(line.end)?;
        let next = form.next_line(head.end)?;
        if head.is_model {
            // The line break in front of a delimiter belongs to the delimiter.
            let content = head.end..next.start - CRLF.len();
            let part = head.into_model(content, body)?;
            if model.replace(part).is_some() {
                return Err(FormError::SeveralModels);
            }
        }
        line = next;
    }
    form.check_epilogue(line.end)?;
    model.ok_or(FormError::NoModel)
}

/// The boundary that a `Content-Type` names.
fn boundary(content_type: &[u8]) -> Result<&[u8]> {
    let (media_type, parameters) = split_value(content_type);
    if !media_type.eq_ignore_ascii_case(b"multipart/form-data") {
        return Err(FormError::NotAForm);
    }
    let mut boundary = None;
    for_each_parameter(parameters, |name, value| {
        if name.eq_ignore_ascii_case(b"boundary") {
            return boundary.replace(value).is_none();
        }
        // `boundary*` and `boundary*0` (RFC 2231) are what only some programs read.
        !starts_with_ignoring_case(name, b"boundary*")
    })
    .ok_or(FormError::Boundary)?;
    boundary
        .filter(|boundary| is_boundary(boundary))
        .ok_or(FormError::Boundary)
}

/// RFC 2046, section 5.1.1.
fn is_boundary(text: &[u8]) -> bool {
    (1..=70).contains(&text.len())
        && !text.ends_with(b" ")
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte))
}

/// A body, and what its parts are delimited with.
struct Form<'a> {
    body: &'a [u8],
    /// `--` and the boundary.
    delimiter: memmem::Finder<'a>,
}

/// A line that begins with the delimiter.
struct DelimiterLine {
    start: usize,
    /// Behind its line break.
    end: usize,
    is_last: bool,
}

impl Form<'_> {
    /// What stands before it, nobody reads.
    fn first_line(&self) -> Result<DelimiterLine> {
        match self.body.starts_with(self.delimiter.needle()) {
            true => self.line(0),
            false => self.next_line(0),
        }
    }

    /// The next delimiter line whose own line break is not before `from`.
    fn next_line(&self, from: usize) -> Result<DelimiterLine> {
        match self.line_start(from) {
            Some(start) if self.body[from..start].ends_with(CRLF) => self.line(start),
            Some(at) => malformed("a delimiter without a line break of its own", at),
            None => malformed("the closing delimiter is missing", self.body.len()),
        }
    }

    /// Where the next line begins that begins with the delimiter, whatever its line break is.
    fn line_start(&self, from: usize) -> Option<usize> {
        let begins_line =
            |start: usize| start == 0 || matches!(self.body[start - 1], b'\r' | b'\n');
        let mut at = from;
        loop {
            // `find_iter` would step over one that overlaps with one in the middle of a line.
            let start = at + self.delimiter.find(&self.body[at..])?;
            if begins_line(start) {
                return Some(start);
            }
            at = start + 1;
        }
    }

    fn line(&self, start: usize) -> Result<DelimiterLine> {
        let mut end = start + self.delimiter.needle().len();
        let is_last = self.body[end..].starts_with(b"--");
        if is_last {
            end += 2;
        }
        let padding = self.body[end..].iter();
        end += padding
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let rest = &self.body[end..];
        if rest.starts_with(CRLF) {
            end += CRLF.len();
        } else if !is_last || !rest.is_empty() {
            return malformed("a line begins like a delimiter and isn't one", start);
        }
        Ok(DelimiterLine {
            start,
            end,
            is_last,
        })
    }

    /// What follows the last delimiter, nobody reads, unless it looks as if more parts did.
    fn check_epilogue(&self, from: usize) -> Result<()> {
        match self.line_start(from) {
            Some(at) => malformed("a delimiter after the closing one", at),
            None => Ok(()),
        }
    }

    /// The head of the part that begins at `start`.
    fn head(&self, start: usize) -> Result<PartHead> {
        let rest = &self.body[start..];
        let rest = &rest[..rest.len().min(MAX_HEAD)];
        let Some(length) = memmem::find(rest, b"\r\n\r\n") else {
            return malformed("the head of a part has no end, or is too long", start);
        };
        let mut head = PartHead {
            end: start + length + 2 * CRLF.len(),
            ..PartHead::default()
        };
        let mut at = start;
        for line in rest[..length].split(|&byte| byte == b'\n') {
            // Split so, every line but the last ends with the CR of its CRLF.
            let end = at + line.len();
            let line = match end < start + length {
                true => line.strip_suffix(b"\r").ok_or(FormError::Malformed {
                    problem: "a header line of a part ends without CRLF",
                    at,
                })?,
                false => line,
            };
            head.read(line, at)?;
            at = end + 1;
        }
        match head.has_disposition {
            true => Ok(head),
            false => malformed("a part has no Content-Disposition", start),
        }
    }
}

/// What the head of a part says.
#[derive(Default)]
struct PartHead {
    /// Where its content begins.
    end: usize,
    has_disposition: bool,
    is_model: bool,
    is_file: bool,
    length: Option<Range<usize>>,
    is_encoded: bool,
}

impl PartHead {
    /// Reads a header line that begins at `at`.
    fn read(&mut self, line: &[u8], at: usize) -> Result<()> {
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(0));
        let is_text = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
        if name.is_empty() || !name.iter().all(is_token) || !value.iter().all(is_text) {
            return malformed("a header line of a part is malformed", at);
        }
        let value_at = at + name.len() + 1;
        let value = &value[1..];
        if name.eq_ignore_ascii_case(b"content-disposition") {
            if self.has_disposition {
                return malformed("a part has two Content-Disposition headers", at);
            }
            self.has_disposition = true;
            return self.read_disposition(value, at);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let start = value_at + value.len() - value.trim_ascii_start().len();
            let range = start..start + value.trim_ascii().len();
            if self.length.replace(range).is_some() {
                return malformed("a part has two Content-Length headers", at);
            }
        }
        if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            let plain: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];
            let value = value.trim_ascii();
            self.is_encoded |= !plain.iter().any(|plain| plain.eq_ignore_ascii_case(value));
        }
        Ok(())
    }

    fn read_disposition(&mut self, value: &[u8], at: usize) -> Result<()> {
        let (disposition, parameters) = split_value(value);
        let mut has_name = false;
        let is_read = disposition.eq_ignore_ascii_case(b"form-data")
            && for_each_parameter(parameters, |name, value| {
                if name.eq_ignore_ascii_case(b"name") {
                    self.is_model = value == b"model";
                    // Only some programs read the backslash as an escape.
                    let is_ambiguous = !self.is_model && without_escapes(value) == b"model";
                    return !std::mem::replace(&mut has_name, true) && !is_ambiguous;
                }
                self.is_file |= starts_with_ignoring_case(name, b"filename");
                // `name*` (RFC 2231), which forms don't have, is what only some programs read.
                !starts_with_ignoring_case(name, b"name*")
            })
            .is_some();
        match is_read && has_name {
            true => Ok(()),
            false => malformed(
                "a Content-Disposition isn't `form-data` with one plain `name`",
                at,
            ),
        }
    }

    /// The part `model`, which must be a plain field.
    fn into_model(self, content: Range<usize>, body: &[u8]) -> Result<ModelPart> {
        if self.is_file {
            return Err(FormError::ModelIsFile);
        }
        if self.is_encoded {
            let problem = "the part `model` has a Content-Transfer-Encoding";
            return malformed(problem, content.start);
        }
        let counted = self.length.clone();
        let right_length = content.len().to_string();
        if counted.is_some_and(|length| &body[length] != right_length.as_bytes()) {
            let problem = "the Content-Length of the part `model` is wrong";
            return malformed(problem, content.start);
        }
        Ok(ModelPart {
            content,
            length: self.length,
        })
    }
}

fn malformed<T>(problem: &'static str, at: usize) -> Result<T> {
    Err(FormError::Malformed { problem, at })
}

fn starts_with_ignoring_case(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(start))
}

/// A header's value and its parameters: what stands before the first `;`, and the rest.
fn split_value(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|&byte| byte == b';');
    let (value, parameters) = value.split_at(end.unwrap_or(value.len()));
    (value.trim_ascii(), parameters)
}

/// Visits `; name=value; name="value"` (RFC 9110, section 5.6.6), a quoted value with its escapes
/// and without its quotes. `None`: it isn't of this form, or `visit` answered that it won't do.
fn for_each_parameter<'a>(
    mut rest: &'a [u8],
    mut visit: impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> Option<()> {
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(());
        }
        rest = rest.strip_prefix(b";")?.trim_ascii_start();
        if rest.is_empty() {
            return Some(());
        }
        let (name, after) = rest.split_at(token_length(rest));
        let after = after.strip_prefix(b"=")?;
        let (value, after) = match after.strip_prefix(b"\"") {
            Some(quoted) => {
                let (value, after) = quoted.split_at(quoted_length(quoted)?);
                (value, &after[1..])
            }
            None => match token_length(after) {
                0 => return None,
                length => after.split_at(length),
            },
        };
        if name.is_empty() || !visit(name, value) {
            return None;
        }
        rest = after;
    }
}

fn token_length(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_token(byte)).count()
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// How far the closing quote is; `None` where there is none.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn without_escapes(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => *bytes.next().unwrap_or(byte),
            byte => *byte,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b";
    const MODEL: &str =
        "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n";
    const FILE: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
        Content-Type: audio/wav\r\n\r\n\0\r\n-- \r\n--a\r\n--\r\n\r\nx--b\r\nname=\"model\"\r\n";
    const END: &str = "--b--\r\n";

    fn found(body: &str) -> Result<&str> {
        found_in(TYPE, body)
    }

    fn found_in<'a>(content_type: &str, body: &'a str) -> Result<&'a str> {
        let part = find_model(content_type.as_bytes(), body.as_bytes())?;
        Ok(&body[part.content])
    }

    fn with_head(head: &str) -> String {
        format!("--b\r\n{head}\r\n\r\nm\r\n--b--")
    }

    #[test]
    fn the_part_is_found_wherever_it_is() {
        for body in [
            format!("{MODEL}{END}"),
            format!("{MODEL}{FILE}{END}"),
            format!("{FILE}{MODEL}{END}"),
            format!("{FILE}{FILE}{MODEL}{FILE}{END}"),
            format!("{MODEL}--b--"),
            format!("{MODEL}--b-- \t\r\n"),
            format!("\r\n{MODEL}{END}"),
            format!("This is a preamble, with b and --a.\r\n{MODEL}{END}"),
            format!("{MODEL}{END}This is an epilogue, with x--b in it.\r\n"),
            MODEL.replace("--b\r\n", "--b \t \r\n") + END,
        ] {
            assert_eq!(found(&body), Ok("whisper-1"), "{body}");
        }
    }

    #[test]
    fn the_head_may_be_written_in_any_usual_way() {
        for head in [
            "content-disposition: form-data; name=\"model\"",
            "CONTENT-DISPOSITION:form-data;name=\"model\"",
            "Content-Disposition: Form-Data; NAME=model",
            "Content-Disposition: form-data ; name=\"model\" ;",
            "Content-Disposition: form-data; x=\"a\\\"; name=b\"; name=\"model\"",
            "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=\"model\"",
            "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: 8bit",
            "X-Empty:\r\nX-Name: caf\u{e9}\r\nContent-Disposition: form-data; name=\"model\"",
        ] {
            assert_eq!(found(&with_head(head)), Ok("m"), "{head}");
        }
    }

    #[test]
    fn only_model_itself_is_the_model() {
        for name in [
            "Model", "model ", " model", "models", "mode", "", "m%6fdel", "model[]", "model\\x",
        ] {
            let head = format!("Content-Disposition: form-data; name=\"{name}\"");
            assert_eq!(found(&with_head(&head)), Err(FormError::NoModel), "{name}");
        }
        let body = format!("{FILE}{END}");
        assert_eq!(found(&body), Err(FormError::NoModel));
        assert_eq!(found("--b--"), Err(FormError::NoModel));
    }

    #[test]
    fn a_second_model_or_a_file_is_no_model() {
        let body = format!("{MODEL}{FILE}{MODEL}{END}");
        assert_eq!(found(&body), Err(FormError::SeveralModels));
        for name in ["filename", "FileName", "filename*"] {
            let head = format!("Content-Disposition: form-data; name=\"model\"; {name}=x");
            assert_eq!(found(&with_head(&head)), Err(FormError::ModelIsFile));
        }
    }

    #[test]
    fn a_length_is_found_and_has_to_be_right() {
        let head = "Content-Disposition: form-data; name=\"model\"\r\nContent-Length:  1 ";
        let body = with_head(head);
        let part = find_model(TYPE.as_bytes(), body.as_bytes()).unwrap();
        assert_eq!(&body[part.length.unwrap()], "1");
        for wrong in ["2", "01", "+1", "", "x", "1\r\nContent-Length: 1"] {
            let body = with_head(&head.replace("  1 ", wrong));
            assert!(found(&body).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_boundary_may_be_quoted_and_must_be_one() {
        let body = format!("{MODEL}{END}");
        for content_type in [
            "multipart/form-data;boundary=b",
            "Multipart/Form-Data; charset=utf-8; Boundary=\"b\"",
            "multipart/form-data ; boundary=b ; x=\"a;b=c\"",
        ] {
            assert_eq!(found_in(content_type, &body), Ok("whisper-1"));
        }
        let odd = "a'()+_,-./:=? z0";
        let body = body.replace("--b", &format!("--{odd}"));
        let content_type = format!("multipart/form-data; boundary=\"{odd}\"");
        assert_eq!(found_in(&content_type, &body), Ok("whisper-1"));
    }

    #[test]
    fn a_boundary_that_programs_may_read_differently_is_refused() {
        let (body, long) = (format!("{MODEL}{END}"), "b".repeat(71));
        for parameters in [
            "",
            "; boundary",
            "; boundary=",
            "; boundary=\"\"",
            "; boundary=\"b",
            "; boundary=\"b \"",
            "; boundary=\"\\b\"",
            "; boundary=b/",
            "; boundary=\u{e9}",
            "; boundary=b; boundary=c",
            "; boundary=b; boundary*=utf-8''c",
            "; boundary*0=b",
            "; boundary =b",
            "; boundary=b; x",
            &format!("; boundary={long}"),
        ] {
            let content_type = format!("multipart/form-data{parameters}");
            let refusal = found_in(&content_type, &body);
            assert_eq!(refusal, Err(FormError::Boundary), "{parameters}");
        }
        for content_type in [
            "",
            "application/json",
            "multipart/mixed; boundary=b",
            "multipart/form-data boundary=b",
            "multipart",
        ] {
            let refusal = found_in(content_type, &body);
            assert_eq!(refusal, Err(FormError::NotAForm), "{content_type}");
        }
    }

    #[test]
    fn what_programs_may_read_differently_is_refused() {
        let head = "Content-Disposition: form-data; name=";
        for body in [
            String::new(),
            "{\"model\":\"m\"}".to_owned(),
            MODEL.to_owned(),
            format!("{MODEL}--b"),
            format!("{MODEL}--b-"),
            format!("{MODEL}--b--x"),
            format!("{MODEL}--b--\n"),
            // A delimiter with another line break, in contents, before and after them.
            format!("{MODEL}{END}").replace("\r\n", "\n"),
            MODEL.replace("whisper-1\r\n", "whisper-1\n") + END,
            format!("--b\r\n{head}\"x\"\r\n\r\n1\n{MODEL}{END}"),
            format!("--b\r\n{head}\"x\"\r\n\r\n1\r{MODEL}{END}"),
            format!("x\n{MODEL}{END}"),
            format!("{MODEL}{END}{MODEL}{END}"),
            format!("{MODEL}{END}\n--b"),
            // Lines that only begin like one.
            MODEL.replace("whisper-1", "w\r\n--bc\r\n") + END,
            MODEL.replace("whisper-1", "w\r\n--b\n") + END,
            // No line break of its own.
            MODEL.replace("whisper-1\r\n", "") + END,
            // Heads.
            with_head(""),
            with_head("Content-Type: text/plain"),
            with_head("\r\nContent-Disposition: form-data; name=\"model\""),
            with_head(&format!("{head}\"model\"\nX: y")),
            with_head(&format!("{head}\"model\"\r\n folded: x")),
            with_head(&format!("X: y\r\n\t{head}\"model\"")),
            with_head(&format!("{head}\"model\"\r\n{head}\"x\"")),
            with_head(&format!("{head}\"x\"; name=\"model\"")),
            with_head(&format!("{head}\"x\"; name*=utf-8''model")),
            with_head(&format!("{head}\"mo\\del\"")),
            with_head(&format!("{head}\"model")),
            with_head(&format!("{head}\"mo\"del")),
            with_head(&format!("{head}mo del")),
            with_head("Content-Disposition: form-data"),
            with_head("Content-Disposition: form-data; filename=\"model\""),
            with_head("Content-Disposition: attachment; name=\"model\""),
            with_head("Content-Disposition : form-data; name=\"model\""),
            with_head("no colon\r\nContent-Disposition: form-data; name=\"model\""),
            with_head(&format!(
                "{head}\"model\"\r\nContent-Transfer-Encoding: base64"
            )),
            with_head(&format!("{head}\"model\"\r\nX: {}", "x".repeat(MAX_HEAD))),
        ] {
            let refusal = found(&body);
            assert!(
                matches!(refusal, Err(FormError::Malformed { .. })),
                "{refusal:?} for {body}"
            );
        }
    }

    /// The model as a parser finds it that takes any line break, any text behind the boundary and
    /// any head: what the laxest provider might do.
    fn laxly_found(body: &[u8]) -> Vec<Vec<u8>> {
        let text = String::from_utf8_lossy(body)
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        let text = format!("\n{text}");
        let parts = text.split("\n--b").skip(1).filter_map(|part| {
            let (head, content) = part.split_once("\n\n")?;
            let head = head.to_ascii_lowercase();
            let is_model = ["name=\"model\"", "name=model"]
                .iter()
                .any(|name| head.contains(name));
            (is_model && !head.starts_with("--")).then(|| content.as_bytes().to_vec())
        });
        parts.collect()
    }

    #[test]
    fn whatever_byte_is_changed_nobody_finds_another_model_than_we_do() {
        let body = format!("{FILE}{MODEL}{FILE}{END}").into_bytes();
        let mut accepted = 0;
        for position in 0..body.len() {
            for byte in [
                b'\r', b'\n', b'-', b'b', b'"', b';', b':', b' ', b'\\', 0, 0xff,
            ] {
                for keep in [0, 1] {
                    // Replaced, and put in.
                    let mut changed = body[..position].to_vec();
                    changed.push(byte);
                    changed.extend_from_slice(&body[position + 1 - keep..]);
                    let Ok(part) = find_model(TYPE.as_bytes(), &changed) else {
                        continue;
                    };
                    accepted += 1;
                    let model = String::from_utf8_lossy(&changed[part.content]).into_owned();
                    let model = model.replace("\r\n", "\n").replace('\r', "\n").into_bytes();
                    assert_eq!(laxly_found(&changed), [model], "{}", changed.escape_ascii());
                }
            }
        }
        // Most changes are within the files' contents.
        assert!(accepted > body.len(), "{accepted}");
        for end in 0..body.len() - CRLF.len() {
            assert!(find_model(TYPE.as_bytes(), &body[..end]).is_err());
        }
    }

    #[test]
    fn any_content_between_parts_is_left_alone() {
        // A small generator of noise (xorshift), rich in what the scanner looks for.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let pieces: [&[u8]; 8] = [b"\r", b"\n", b"--", b"b", b"--b", b"\0", b"x--b", b"\r\n"];
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let count = next() % 12;
            let noise: Vec<u8> = (0..count)
                .flat_map(|_| pieces[usize::try_from(next() % 8).unwrap()])
                .copied()
                .collect();
            let head = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n";
            let body = [head, &noise[..], b"\r\n", MODEL.as_bytes(), END.as_bytes()].concat();
            // Preceded by the head's line break, as the noise is.
            let line = [b"\n", &noise[..]].concat();
            let begins_line = |start: usize| matches!(line[start - 1], b'\r' | b'\n');
            let looks_alike = (1..line.len())
                .any(|start| line[start..].starts_with(b"--b") && begins_line(start));
            match find_model(TYPE.as_bytes(), &body) {
                Ok(part) if !looks_alike => {
                    assert_eq!(&body[part.content], b"whisper-1");
                    accepted += 1;
                }
                Err(FormError::Malformed { .. }) if looks_alike => refused += 1,
                other => panic!("{other:?} for {}", body.escape_ascii()),
            }
        }
        assert!(accepted > 1_000 && refused > 1_000, "{accepted} {refused}");
    }
}
