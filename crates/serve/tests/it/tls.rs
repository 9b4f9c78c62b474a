//! TLS: handshake, protocols, change of the certificate, and what is not TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prl_serve::{Options, Server, TlsOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::common::http::Connection;
use crate::common::{JSON, TestServer, run};

/// Path of a certificate or key of the tests.
pub fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

fn options(certificate: PathBuf, key: PathBuf) -> TlsOptions {
    TlsOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        certificate,
        key,
    }
}

/// A server with TLS and a plain listener.
fn server(change: impl FnOnce(&mut Options)) -> (TestServer, SocketAddr) {
    let server = TestServer::start(|o| {
        o.web.listen = vec!["127.0.0.1:0".parse().unwrap()];
        o.web.tls = Some(options(pem("first.pem"), pem("first.key.pem")));
        change(o);
    });
    let secure = server.urls[1].strip_prefix("https://").unwrap();
    let secure = secure.parse().unwrap();
    (server, secure)
}

/// A client that trusts one certificate and offers protocols.
pub fn client(trusted: &str, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(pem(trusted)).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Arc::new(config)
}

/// A stream of the client.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Connects and completes the handshake.
pub fn connect(addr: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<TlsStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(addr)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

#[test]
fn tls_and_plain_listeners_answer_alike() {
    let (server, secure) = server(|_| {});
    let question = r#"{"items":["item-1"],"k":5}"#;
    let mut connection = Connection::over(connect(secure, client("first.pem", &[])).unwrap());
    for _ in 0..2 {
        let reply = connection.send("POST", "/v1/recommend", &[JSON], question);
        let plain = serde_json::from_str(question).unwrap();
        assert_eq!(
            reply.unwrap().json(),
            server.post("/v1/recommend", &plain).json()
        );
    }
    let untrusted = connect(secure, client("second.pem", &[]));
    assert!(untrusted.is_err());
}

#[test]
fn alpn_chooses_http2_if_offered() {
    let (_server, secure) = server(|_| {});
    let chosen = |protocols: &[&[u8]]| {
        let stream = connect(secure, client("first.pem", protocols)).unwrap();
        stream.conn.alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(chosen(&[b"http/1.1", b"h2"]), Some(b"h2".to_vec()));
    assert_eq!(chosen(&[b"http/1.1"]), Some(b"http/1.1".to_vec()));
    assert_eq!(chosen(&[]), None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let connector = tokio_rustls::TlsConnector::from(client("first.pem", &[b"h2"]));
        let stream = tokio::net::TcpStream::connect(secure).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { _ = connection.await });
        let request = axum::http::Request::get("https://localhost/health/live");
        let mut client = client.ready().await.unwrap();
        let (response, _) = client
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn bytes_that_are_no_tls_end_the_connection_alone() {
    let (server, secure) = server(|o| o.header_timeout = Duration::from_millis(300));
    let attacks: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        &[0; 4096],
        &[0xff; 4096],
        // The head of a record that never comes.
        &[0x16, 3, 1, 0x40, 0],
        b"",
    ];
    for attack in attacks {
        let start = Instant::now();
        let mut stream = TcpStream::connect(secure).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(attack).unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as a close.
        _ = stream.read_to_end(&mut answer);
        assert!(start.elapsed() < Duration::from_secs(5), "{attack:?}");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert!(connect(secure, client("first.pem", &[])).is_ok());
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn unusable_certificate_or_key_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let cases = [
        (
            empty.clone(),
            pem("first.key.pem"),
            "empty.pem",
            "no certificate",
        ),
        (
            pem("first.pem"),
            empty,
            "empty.pem",
            "an unencrypted private key",
        ),
        (
            pem("missing.pem"),
            pem("first.key.pem"),
            "missing.pem",
            "No such file",
        ),
        (
            pem("first.pem"),
            pem("second.key.pem"),
            "second.key.pem",
            "key of the certificate",
        ),
    ];
    for (certificate, key, path, cause) in cases {
        let mut server = Options::new(run());
        server.web.tls = Some(options(certificate, key));
        let error = Server::start(server).err().unwrap().to_string();
        assert!(error.contains(path) && error.contains(cause), "{error}");
    }
}
