//! The test kit over real sockets.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod realtime;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod traffic;
