//! A new server takes the listening sockets over from the one that runs on the same state directory.
//!
//! The sockets themselves are passed, not only their port: what waits in their queues, and handshakes that are
//! not finished, stay where they are when the old server closes its copies, so no connection is lost. The door is
//! a Unix socket in the state directory, which only its owner can enter.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sockets in one message; the kernel takes 253.
const PER_MESSAGE: usize = 64;
/// Sockets taken over at most.
const SOCKETS_MAX: usize = 1_024;
/// How long a new server waits for the running one to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest path of a Unix socket that every system takes.
const PATH_MAX: usize = 100;
const SUFFIX: &str = "door";

/// A door by which a later server comes in; gone when dropped.
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Opens the door of the server called `name` in a state directory.
    pub(crate) fn open(dir: &Path, name: &str) -> io::Result<Self> {
        let path = door_path(dir, name);
        let listener = within_reach(&path, |path| UnixListener::bind(path))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// The door as a socket that can be waited on.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Left behind after a crash, too: then the next server clears it away.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn door_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.{SUFFIX}"))
}

/// Calls with a path to the same file that is short enough for the address of a Unix socket.
fn within_reach<T>(path: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) if path.as_os_str().len() > PATH_MAX => {
            let dir = File::open(dir)?;
            call(&PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
        }
        _ => call(path),
    }
}

/// Whether the server called `name` runs.
pub(crate) fn is_running(dir: &Path, name: &str) -> bool {
    within_reach(&door_path(dir, name), |path| UnixStream::connect(path)).is_ok()
}

/// Removes the doors of servers that ended suddenly.
pub(crate) fn clear_away(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_door = path.extension().is_some_and(|extension| extension == SUFFIX);
        if is_door && within_reach(&path, |path| UnixStream::connect(path)).is_err() {
            // Another server may do the same at the same time.
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

/// Hands sockets to a server that came in by the door.
pub(crate) fn give(visitor: &UnixStream, sockets: &[TcpListener]) -> io::Result<()> {
    visitor.set_nonblocking(false)?;
    visitor.set_write_timeout(Some(PATIENCE))?;
    for chunk in sockets.chunks(PER_MESSAGE) {
        let fds: Vec<BorrowedFd<'_>> = chunk.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        sendmsg(visitor, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Asks the server called `name` for its listening sockets; those that listen on `address` are kept.
pub(crate) fn take(dir: &Path, name: &str, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
    let door = within_reach(&door_path(dir, name), |path| UnixStream::connect(path))?;
    door.set_read_timeout(Some(PATIENCE))?;
    let mut taken = Vec::new();
    while taken.len() < SOCKETS_MAX {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message = recvmsg(&door, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
        if message.bytes == 0 {
            break;
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("some sockets did not fit: the limit of open files is too low"));
        }
        for ancillary in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = ancillary {
                taken.extend(fds.map(|fd: OwnedFd| TcpListener::from(fd)));
            }
        }
    }
    taken.retain(|socket| socket.local_addr().is_ok_and(|bound| bound == address));
    for socket in &taken {
        socket.set_nonblocking(true)?;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        let sockets: Vec<_> = (0..70).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let wanted = sockets[66].local_addr().unwrap();
        let door = Door::open(dir, "one").unwrap();
        let asked = std::thread::spawn({
            let dir = dir.to_owned();
            move || take(&dir, "one", wanted)
        });
        let listener = door.listener().unwrap();
        listener.set_nonblocking(false).unwrap();
        let (visitor, _) = listener.accept().unwrap();
        give(&visitor, &sockets).unwrap();
        drop(visitor);
        let taken = asked.join().unwrap().unwrap();
        drop(sockets);
        assert_eq!(taken.len(), 1);
        // The socket lives on in its copy.
        std::net::TcpStream::connect(wanted).unwrap();
        assert!(is_running(dir, "one") && !is_running(dir, "two"));
        drop((door, listener));
        assert!(!is_running(dir, "one"));
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    }

    #[test]
    fn sockets_are_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path());
    }

    #[test]
    fn a_long_path_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        check(&dir.path().join("d".repeat(120)));
    }

    #[test]
    fn doors_of_the_dead_are_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(dir.path().join("dead.door")).unwrap());
        let alive = Door::open(dir.path(), "alive").unwrap();
        clear_away(dir.path()).unwrap();
        assert!(!dir.path().join("dead.door").exists());
        assert!(is_running(dir.path(), "alive"));
        drop(alive);
    }
}
