//! Addresses and listeners: TCP by number or name, and Unix sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use tokio::net::TcpListener;

#[cfg(unix)]
use crate::web::unix::UnixSocket;

/// Prefix of the address of a Unix socket.
const UNIX: &str = "unix:";

/// Address to listen on: `127.0.0.1:8080`, `localhost:8080` or `unix:/run/prl.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// IP address and port.
    Tcp(SocketAddr),
    /// Host name and port; all addresses of the name are listened on.
    Name(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// Text that is no [`ListenAddr`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no address: {1}; expected IP:PORT as 127.0.0.1:8080 or [::1]:8080, NAME:PORT as \
     localhost:8080, or unix:PATH as unix:/run/prl.sock"
)]
pub struct InvalidAddr(String, &'static str);

impl FromStr for ListenAddr {
    type Err = InvalidAddr;

    fn from_str(text: &str) -> Result<Self, InvalidAddr> {
        let invalid = |cause| InvalidAddr(text.to_owned(), cause);
        if let Some(path) = text.strip_prefix(UNIX) {
            if path.is_empty() {
                return Err(invalid("the path is empty"));
            }
            return Ok(Self::Unix(path.into()));
        }
        if let Ok(addr) = text.parse() {
            return Ok(Self::Tcp(addr));
        }
        let (name, port) = text
            .rsplit_once(':')
            .ok_or_else(|| invalid("the port is missing"))?;
        let port = port
            .parse()
            .map_err(|_| invalid("the port is not a number from 0 to 65535"))?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(invalid("the host is neither an IP address nor a name"));
        }
        Ok(Self::Name(name.to_owned(), port))
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// A bound socket.
pub(crate) enum Listener {
    /// A TCP socket and its address.
    Tcp(TcpListener, SocketAddr),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixSocket),
}

impl Listener {
    /// The address as a URL, or `unix:PATH`.
    pub(crate) fn url(&self, is_tls: bool) -> String {
        match self {
            Self::Tcp(_, addr) if is_tls => format!("https://{addr}"),
            Self::Tcp(_, addr) => format!("http://{addr}"),
            #[cfg(unix)]
            Self::Unix(socket) => format!("{UNIX}{}", socket.path().display()),
        }
    }

    /// The address of a TCP socket.
    pub(crate) fn tcp_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, addr) => Some(*addr),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }
}

/// Binds an address; a name gives a listener for each of its addresses. Must be called inside a
/// runtime.
///
/// # Errors
/// If no address can be bound, or one of several that this machine has.
pub(crate) fn bind(addr: &ListenAddr) -> io::Result<Vec<Listener>> {
    match addr {
        ListenAddr::Tcp(addr) => Ok(vec![bind_tcp(*addr)?]),
        ListenAddr::Name(name, port) => bind_name(name, *port),
        #[cfg(unix)]
        ListenAddr::Unix(path) => Ok(vec![Listener::Unix(UnixSocket::bind(path)?)]),
        #[cfg(not(unix))]
        ListenAddr::Unix(_) => Err(io::Error::other("this system has no Unix sockets")),
    }
}

fn bind_name(name: &str, port: u16) -> io::Result<Vec<Listener>> {
    let mut port = port;
    let mut listeners = Vec::new();
    let mut addrs: Vec<SocketAddr> = (name, port).to_socket_addrs()?.collect();
    addrs.sort_unstable();
    addrs.dedup();
    for mut addr in addrs {
        addr.set_port(port);
        match bind_tcp(addr) {
            Ok(listener) => {
                // A free port that the system chose is the same for all addresses of the name.
                port = listener.tcp_addr().map_or(port, |bound| bound.port());
                listeners.push(listener);
            }
            // A name may have an IPv6 address where the machine has none.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                tracing::debug!(%addr, %error, "address of {name} left out");
            }
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() {
        let cause = "the name has no address of this machine";
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, cause));
    }
    Ok(listeners)
}

fn bind_tcp(addr: SocketAddr) -> io::Result<Listener> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    Ok(Listener::Tcp(TcpListener::from_std(listener)?, addr))
}

#[cfg(test)]
mod tests {
    use super::ListenAddr;

    #[test]
    fn address_text_is_parsed_or_refused_with_a_cause() {
        let parse = |text: &str| text.parse::<ListenAddr>().map_err(|e| e.to_string());
        let tcp = |text: &str| ListenAddr::Tcp(text.parse().unwrap());
        assert_eq!(parse("0.0.0.0:80"), Ok(tcp("0.0.0.0:80")));
        assert_eq!(parse("[::1]:8080"), Ok(tcp("[::1]:8080")));
        assert_eq!(
            parse("localhost:8080"),
            Ok(ListenAddr::Name("localhost".into(), 8080))
        );
        assert_eq!(
            parse("unix:/run/prl.sock"),
            Ok(ListenAddr::Unix("/run/prl.sock".into()))
        );
        for (text, cause) in [
            ("localhost", "the port is missing"),
            ("localhost:99999", "the port is not a number"),
            ("::1:8080", "neither an IP address nor a name"),
            ("http://localhost:8080", "neither an IP address nor a name"),
            (":8080", "neither an IP address nor a name"),
            ("unix:", "the path is empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(cause), "{text}: {error}");
        }
    }
}
