//! PROXY protocol version 2 (HAProxy, 2020 text): a binary head in front of a connection that tells the
//! client's address. Read only from trusted proxies, and then required: a listener that takes it optionally
//! can be lied to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before the variable part.
pub(crate) const FIXED_LEN: usize = 16;
/// Longest variable part taken; addresses need 36, extensions the rest.
const VARIABLE_MAX: usize = 2048;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyHeadError {
    #[error("no PROXY protocol version 2 signature")]
    Signature,
    #[error("unknown PROXY protocol version or command")]
    Version,
    #[error("PROXY protocol head is too long")]
    TooLong,
    #[error("PROXY protocol addresses are cut short")]
    Short,
}

/// Length of the variable part, from the fixed part.
pub(crate) fn variable_len(fixed: &[u8; FIXED_LEN]) -> Result<usize, ProxyHeadError> {
    if !fixed.starts_with(&SIGNATURE) {
        return Err(ProxyHeadError::Signature);
    }
    if !matches!(fixed[12], 0x20 | 0x21) {
        return Err(ProxyHeadError::Version);
    }
    let len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > VARIABLE_MAX { Err(ProxyHeadError::TooLong) } else { Ok(len) }
}

/// The client's address; `None` where the connection's own counts: the proxy's own health checks (LOCAL) and
/// families without addresses.
pub(crate) fn source(fixed: &[u8; FIXED_LEN], variable: &[u8]) -> Result<Option<SocketAddr>, ProxyHeadError> {
    if fixed[12] == 0x20 {
        return Ok(None);
    }
    let (address, port_at) = match fixed[13] >> 4 {
        1 => {
            let bytes: [u8; 4] = part(variable, 0)?;
            (IpAddr::V4(Ipv4Addr::from(bytes)), 8)
        }
        2 => {
            let bytes: [u8; 16] = part(variable, 0)?;
            (IpAddr::V6(Ipv6Addr::from(bytes)), 32)
        }
        _ => return Ok(None),
    };
    let port = u16::from_be_bytes(part(variable, port_at)?);
    Ok(Some(SocketAddr::new(address, port)))
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ProxyHeadError> {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).ok_or(ProxyHeadError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(command: u8, family: u8, variable: &[u8]) -> ([u8; FIXED_LEN], Vec<u8>) {
        let mut fixed = [0; FIXED_LEN];
        fixed[..12].copy_from_slice(&SIGNATURE);
        fixed[12] = command;
        fixed[13] = family;
        fixed[14..].copy_from_slice(&(variable.len() as u16).to_be_bytes());
        (fixed, variable.to_vec())
    }

    #[test]
    fn addresses_are_read() {
        let (fixed, variable) = head(0x21, 0x11, &[203, 0, 113, 9, 10, 0, 0, 1, 0x30, 0x39, 0, 80, 4, 0, 0]);
        assert_eq!(variable_len(&fixed), Ok(15));
        assert_eq!(source(&fixed, &variable), Ok(Some("203.0.113.9:12345".parse().unwrap())));
        let (fixed, variable) = head(0x20, 0x11, &[]);
        assert_eq!(source(&fixed, &variable), Ok(None));
        let (fixed, variable) = head(0x21, 0x21, &[0; 20]);
        assert_eq!(source(&fixed, &variable), Err(ProxyHeadError::Short));
        assert_eq!(variable_len(b"GET / HTTP/1.1\r\n"), Err(ProxyHeadError::Signature));
    }
}
