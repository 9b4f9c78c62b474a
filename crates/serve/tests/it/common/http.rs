//! Minimal HTTP/1.1 client: one request at a time on a connection; responses have a Content-Length,
//! chunks or no body.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

/// A response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// With replacement characters if it is not text.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// A persistent connection.
pub struct Connection<S = TcpStream>(BufReader<S>);

impl Connection {
    pub fn open(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: Read + Write> Connection<S> {
    /// A connection over a stream that is open.
    pub fn over(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &(impl AsRef<[u8]> + ?Sized),
    ) -> std::io::Result<Reply> {
        let body = body.as_ref();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n",
            body.len()
        );
        headers
            .iter()
            .for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        self.0
            .get_mut()
            .write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
        self.receive()
    }

    fn receive(&mut self) -> std::io::Result<Reply> {
        let bad = || std::io::Error::other("not an HTTP response");
        let mut line = || {
            let mut text = String::new();
            self.0
                .read_line(&mut text)
                .map(|_| text.trim_end().to_owned())
        };
        let status = line()?
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or_else(bad)?;
        let mut headers = Vec::new();
        loop {
            let text = line()?;
            if text.is_empty() {
                break;
            }
            let (name, value) = text.split_once(':').ok_or_else(bad)?;
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply {
            status,
            headers,
            body: String::new(),
            bytes: Vec::new(),
        };
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.bytes = self.receive_chunks()?;
        } else {
            let length = reply.header("content-length");
            let length = length.and_then(|n| n.parse().ok()).unwrap_or(0);
            reply.bytes = vec![0; length];
            self.0.read_exact(&mut reply.bytes)?;
        }
        reply.body = String::from_utf8_lossy(&reply.bytes).into_owned();
        Ok(reply)
    }

    fn receive_chunks(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            let mut chunk = vec![0; length + 2];
            self.0.read_exact(&mut chunk)?;
            if length == 0 {
                return Ok(bytes);
            }
            bytes.extend(&chunk[..length]);
        }
    }
}

/// Sends one request on a new connection.
pub fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &(impl AsRef<[u8]> + ?Sized),
) -> Reply {
    Connection::open(addr)
        .and_then(|mut c| c.send(method, path, headers, body))
        .unwrap()
}
