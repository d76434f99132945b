//! Makes the kubelet's registration calls readable for an HTTP/2 server that is strict about names.
//!
//! The kubelet dials our registration socket without naming an authority (v1.36 `operation_generator.go`,
//! `dial`), so grpc-go sends `:authority: %2Fvar%2Flib%2F...`. That is no authority by RFC 3986, and the
//! h2 crate answers with PROTOCOL_ERROR before any code of ours is asked. So the bytes of the caller go
//! through this filter, which puts `localhost` in its place. It touches nothing else; whatever it cannot
//! parse it passes on for the server to judge.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;

/// What a client sends before its first frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Length, type, flags and stream of a frame (RFC 9113 section 4.1).
const HEAD: usize = 9;
/// The type of a HEADERS frame, and its flags for padding and priority (RFC 9113 section 6.2).
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The most one frame may hold unless the server offers more, which ours does not.
const FRAME_MAX: usize = 16_384;
/// The place of `:authority` in the static table (RFC 7541 appendix A).
const AUTHORITY: usize = 1;
const PLAIN: &[u8] = b"localhost";

/// The same connection, with a plain authority.
#[must_use]
pub(crate) fn with_plain_authority(stream: UnixStream) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(4 * FRAME_MAX);
    tokio::spawn(async move {
        let (mut from_caller, mut to_caller) = stream.into_split();
        let (mut answers, mut requests) = tokio::io::split(ours);
        let forth = async {
            let ended = forward(&mut from_caller, &mut requests).await;
            // The other side learns of the end from the closed pipe.
            let _ = requests.shutdown().await;
            ended
        };
        let back = tokio::io::copy(&mut answers, &mut to_caller);
        let (forth, back) = tokio::join!(forth, back);
        if let Some(error) = forth.err().or(back.err()) {
            tracing::debug!(%error, "a registration connection broke off");
        }
    });
    theirs
}

async fn forward(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
) -> std::io::Result<()> {
    let mut preface = [0; PREFACE];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    let mut head = [0; HEAD];
    loop {
        match from.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if length > FRAME_MAX {
            return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        if head[3] == HEADERS && head[4] & PADDED == 0 {
            body = plain_headers(body, head[4]);
            let length = body.len();
            head[..3].copy_from_slice(&[(length >> 16) as u8, (length >> 8) as u8, length as u8]);
        }
        to.write_all(&head).await?;
        to.write_all(&body).await?;
    }
}

fn plain_headers(body: Vec<u8>, flags: u8) -> Vec<u8> {
    let skipped = if flags & PRIORITY == 0 { 0 } else { 5 };
    let Some(block) = body.get(skipped..) else { return body };
    match plain_block(block) {
        Some(plain) => [&body[..skipped], &plain].concat(),
        None => body,
    }
}

/// The header block with its authority replaced; `None` if it is no header block.
///
/// The entry keeps its way of indexing and becomes shorter, so that the server's dynamic table holds at
/// least what the caller believes it to hold.
fn plain_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(block.len());
    let mut at = 0;
    while at < block.len() {
        let begun = at;
        let first = block[at];
        let bits = match first {
            0x80.. => 7,
            0x40..0x80 => 6,
            0x20..0x40 => 5,
            0x00..0x20 => 4,
        };
        let index = integer(block, &mut at, bits)?;
        let literal = bits == 6 || bits == 4;
        if literal && index == 0 {
            text(block, &mut at)?;
        }
        let value_at = at;
        if literal {
            text(block, &mut at)?;
        }
        if literal && index == AUTHORITY {
            plain.extend_from_slice(&block[begun..value_at]);
            plain.push(PLAIN.len() as u8);
            plain.extend_from_slice(PLAIN);
        } else {
            plain.extend_from_slice(&block[begun..at]);
        }
    }
    Some(plain)
}

/// An integer with a prefix of `bits` bits (RFC 7541 section 5.1).
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let mut number = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if number < most {
        return Some(number);
    }
    for shift in (0..28).step_by(7) {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        number += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Steps over a string (RFC 7541 section 5.2), whatever its coding.
fn text(block: &[u8], at: &mut usize) -> Option<()> {
    let length = integer(block, at, 7)?;
    *at = at.checked_add(length).filter(|end| *end <= block.len())?;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{plain_block, plain_headers};

    #[test]
    fn an_authority_is_replaced_and_nothing_else() {
        // :method POST (indexed 3), :authority as literal with indexing, a literal with a name of its own.
        let block = [&[0x83, 0x41, 5][..], b"%2Fva", &[0x00, 1, b'a', 1, b'b']].concat();
        let plain = [&[0x83, 0x41, 9][..], b"localhost", &[0x00, 1, b'a', 1, b'b']].concat();
        assert_eq!(plain_block(&block), Some(plain));
    }

    #[test]
    fn a_compressed_authority_is_replaced_without_being_read() {
        let block = [0x41, 0x83, 0xff, 0xff, 0xff, 0x84];
        let plain = [&[0x41, 9][..], b"localhost", &[0x84]].concat();
        assert_eq!(plain_block(&block), Some(plain));
    }

    #[test]
    fn a_long_length_is_read() {
        let value = [b'x'; 200];
        let block = [&[0x01, 127, 73][..], &value].concat();
        assert_eq!(plain_block(&block), Some([&[0x01, 9][..], b"localhost"].concat()));
    }

    #[test]
    fn what_is_no_header_block_is_passed_on_as_it_is() {
        let broken = vec![0x41, 9, b'x'];
        assert_eq!(plain_headers(broken.clone(), 0), broken);
        assert_eq!(plain_headers(vec![1, 2], 0x20), [1, 2]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64), flags: u8) {
            plain_headers(bytes, flags);
        }
    }
}
