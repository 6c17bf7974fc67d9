//! Where a body ends, and what of its bytes is content: takes the framing off.

/// The most bytes between one chunk's data and the next: a size line with its extensions, or all
/// trailers. Real ones have a few dozen bytes; without a bound a provider could send nothing else.
const MAX_CHUNK_OVERHEAD: u32 = 16 * 1024;

/// How a body is delimited, and how much of it is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, up to the empty one and its trailers.
    Chunked(Chunks),
    /// Everything until the provider closes the connection.
    UntilClose,
}

impl Body {
    pub(super) const EMPTY: Self = Self::Length(0);

    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks {
            state: State::Size { digits: false },
            left: 0,
            overhead: 0,
        })
    }

    /// Follows `bytes`, and moves what is content to their beginning.
    pub(super) fn unframe(&mut self, bytes: &mut [u8]) -> Result<Unframed, &'static str> {
        match self {
            Self::Length(left) => Ok(Unframed::plain(take(left, bytes.len()))),
            Self::Chunked(chunks) => chunks.unframe(bytes),
            Self::UntilClose => Ok(Unframed::plain(bytes.len())),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == State::Done,
            Self::UntilClose => false,
        }
    }
}

/// What there was in some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unframed {
    /// So many bytes of content, which are at the beginning now.
    pub(super) content: usize,
    /// So many bytes belong to the body; the rest came after its end.
    pub(super) followed: usize,
}

impl Unframed {
    fn plain(length: usize) -> Self {
        Self {
            content: length,
            followed: length,
        }
    }
}

/// Takes as many of `available` as are `left`.
fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
    *left -= taken as u64;
    taken
}

/// The chunked coding of RFC 9112, section 7.1. Extensions and trailers are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    state: State,
    /// While a size is read: the size so far. Then: bytes of the chunk still to come.
    left: u64,
    overhead: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: bool },
    SpaceAfterSize,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

impl Chunks {
    fn unframe(&mut self, bytes: &mut [u8]) -> Result<Unframed, &'static str> {
        let (mut content, mut at) = (0, 0);
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let data = take(&mut self.left, bytes.len() - at);
                bytes.copy_within(at..at + data, content);
                content += data;
                at += data;
                if self.left == 0 {
                    self.state = State::DataCr;
                    self.overhead = 0;
                }
            } else {
                self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(Unframed {
            content,
            followed: at,
        })
    }

    fn step(&mut self, byte: u8) -> Result<(), &'static str> {
        self.overhead += 1;
        if self.overhead > MAX_CHUNK_OVERHEAD {
            return Err("chunk extensions or trailers too long");
        }
        self.state = match (self.state, byte) {
            (State::Size { .. }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.left = with_digit(self.left, byte)?;
                State::Size { digits: true }
            }
            (State::Size { digits: true } | State::SpaceAfterSize, b' ' | b'\t') => {
                State::SpaceAfterSize
            }
            (State::Size { digits: true } | State::SpaceAfterSize, b';') => State::Extension,
            (State::Size { digits: true } | State::SpaceAfterSize | State::Extension, b'\r') => {
                State::SizeLf
            }
            (State::Extension, byte) if is_text(byte) => State::Extension,
            (State::SizeLf, b'\n') if self.left == 0 => State::LineStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: false },
            (State::LineStart, b'\r') => State::EndLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::LineStart | State::Trailer, byte) if is_text(byte) => State::Trailer,
            (State::TrailerLf, b'\n') => State::LineStart,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err("malformed chunk"),
        };
        Ok(())
    }
}

fn with_digit(size: u64, digit: u8) -> Result<u64, &'static str> {
    let digit = char::from(digit).to_digit(16).ok_or("malformed chunk")?;
    let size = size.checked_mul(16).ok_or("chunk too large")?;
    Ok(size + u64::from(digit))
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] =
        b"4\r\nwiki\r\nA;x=\"y\" \r\n0123456789\r\n05 \t\r\npedia\r\n0\r\nsum: 1\r\n\r\n";

    /// Unframes `bytes` in pieces of `size`: whether the body ended, after how many bytes, and its
    /// content.
    fn in_pieces(bytes: &[u8], size: usize) -> Result<(bool, usize, Vec<u8>), &'static str> {
        let mut body = Body::chunked();
        let (mut followed, mut content) = (0, Vec::new());
        for piece in bytes.chunks(size) {
            let mut piece = piece.to_vec();
            let unframed = body.unframe(&mut piece)?;
            followed += unframed.followed;
            content.extend(&piece[..unframed.content]);
        }
        Ok((body.is_complete(), followed, content))
    }

    #[test]
    fn chunks_end_at_the_same_byte_however_they_are_cut() {
        let beyond = [WHOLE, b"HTTP/1.1 200 OK"].concat();
        let content = b"wiki0123456789pedia".to_vec();
        for size in 1..=beyond.len() {
            let unframed = in_pieces(&beyond, size);
            assert_eq!(unframed, Ok((true, WHOLE.len(), content.clone())), "{size}");
        }
        for end in 0..WHOLE.len() {
            let (is_complete, followed, so_far) = in_pieces(&WHOLE[..end], 7).unwrap();
            assert_eq!((is_complete, followed), (false, end));
            assert!(content.starts_with(&so_far));
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let cases: &[&[u8]] = &[
            b"\r\n",
            b"x\r\n",
            b" 4\r\n",
            b"-1\r\n",
            b"+4\r\n",
            b"0x4\r\n",
            b"4\n",
            b"4\rx",
            b"4 4\r\n",
            b"4;a\nb\r\n",
            b"4;a\0\r\n",
            b"10000000000000000\r\n",
            b"4\r\nwikix",
            b"4\r\nwiki\n",
            b"4\r\nwiki\rx",
            b"0\r\nsum: 1\n",
            b"0\r\nsum: 1\rx",
            b"0\r\n\rx",
            b"0\r\n\n",
        ];
        for case in cases {
            assert!(in_pieces(case, 1).is_err(), "{}", case.escape_ascii());
            assert!(in_pieces(case, 99).is_err(), "{}", case.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_but_chunks_are_not() {
        assert!(in_pieces(&[b"4;", &[b'x'; 20_000][..]].concat(), 1000).is_err());
        assert!(in_pieces(&[b"0\r\n", &b"a: b\r\n".repeat(4000)[..]].concat(), 1000).is_err());
        let many = [&b"1\r\nx\r\n".repeat(100_000)[..], b"0\r\n\r\n"].concat();
        let content = vec![b'x'; 100_000];
        assert_eq!(in_pieces(&many, 8192), Ok((true, many.len(), content)));
    }

    #[test]
    fn a_length_is_followed_to_its_end() {
        let mut body = Body::Length(5);
        let mut follow = |bytes: &[u8]| {
            let followed = body.unframe(&mut bytes.to_vec());
            (followed, body.is_complete())
        };
        assert_eq!(follow(b"abc"), (Ok(Unframed::plain(3)), false));
        assert_eq!(follow(b"defg"), (Ok(Unframed::plain(2)), true));
        assert_eq!(follow(b"x"), (Ok(Unframed::plain(0)), true));
    }
}
