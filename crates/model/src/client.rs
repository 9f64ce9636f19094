//! The client as it describes itself: SDK family and version, runtime, operating system, TLS print.
//!
//! Everything here but the TLS print is chosen by the caller, so it is evidence, never proof.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// What a request says about the software that sent it; built by `tokenwatch_wire::client`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Client {
    /// Family, lower case: `openai-python`, `anthropic-typescript`, `axios`, `aiohttp`, `curl`, `browser`;
    /// empty when no user agent was sent.
    pub family: SmolStr,
    /// Version as sent, such as `1.52.0`; may be empty.
    pub version: SmolStr,
    /// Runtime, such as `cpython 3.12` or `node 22`; may be empty.
    pub runtime: SmolStr,
    /// Operating system, such as `linux`; may be empty.
    pub os: SmolStr,
    /// Hash of the TLS fingerprint; 0 when the connection had none to read.
    pub tls: u64,
}
