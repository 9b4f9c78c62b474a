//! Unix sockets: published atomically with their permissions, removed at the end.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Permissions of the socket: its owner and group may connect.
pub(crate) const SOCKET_MODE: u32 = 0o660;

/// A listening Unix socket; its file is removed when this is dropped.
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that a successor's file is not removed.
    file: (u64, u64),
}

impl UnixSocket {
    /// Listens on a path; replaces the socket of a server that is gone.
    ///
    /// # Errors
    /// If a server answers on the path, or something else than a socket lies there.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        check_replaceable(path)?;
        // Bound under another name, so that nobody can connect before the permissions are set.
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let staged = path.with_file_name(name);
        _ = fs::remove_file(&staged);
        let listener = UnixListener::bind(&staged)?;
        let published = publish(&staged, path);
        if published.is_err() {
            _ = fs::remove_file(&staged);
        }
        Ok(Self {
            listener,
            path: path.to_owned(),
            file: published?,
        })
    }

    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Sets the permissions and moves the socket to its path; returns its identity.
fn publish(staged: &Path, path: &Path) -> io::Result<(u64, u64)> {
    fs::set_permissions(staged, fs::Permissions::from_mode(SOCKET_MODE))?;
    let file = identity(staged)?;
    fs::rename(staged, path)?;
    Ok(file)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Fails unless nothing lies at the path, or a socket on which nobody listens.
fn check_replaceable(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        let cause = "the path exists and is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, cause));
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replaced the socket of a server that is gone");
            Ok(())
        }
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server listens on the socket",
        )),
    }
}
