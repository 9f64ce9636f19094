//! Every way to a receiver, against a server on a real socket that speaks its protocol.

#[cfg(test)]
mod http;
