//! Every way to a receiver, against a server on a real socket that speaks its protocol.

#[cfg(test)]
mod file;
#[cfg(test)]
mod http;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod provider;
#[cfg(test)]
mod server;
#[cfg(test)]
mod syslog;
