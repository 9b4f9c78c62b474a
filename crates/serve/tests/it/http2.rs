//! HTTP/2 without TLS: multiplexed requests, and the limits that HTTP/1.1 has.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode};
use h2::client::SendRequest;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::common::TestServer;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Opens a connection; the task ends with it.
async fn connect(addr: SocketAddr) -> (SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(async move { _ = connection.await });
    (client.ready().await.unwrap(), ended)
}

fn request(addr: SocketAddr, method: Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://{addr}{path}"))
        .header("content-type", "application/json")
        .body(())
        .unwrap()
}

async fn post(
    client: &mut SendRequest<Bytes>,
    addr: SocketAddr,
    path: &str,
    body: String,
) -> (StatusCode, Value) {
    let request = request(addr, Method::POST, path);
    let (response, mut stream) = client.send_request(request, false).unwrap();
    stream.send_data(body.into(), true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        bytes.extend(chunk.unwrap());
    }
    (head.status, serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn http2_requests_share_a_connection() {
    let server = TestServer::start(|_| {});
    let one = |i: usize| json!({"items": [format!("item-{i}")], "k": 3});
    runtime().block_on(async {
        let (client, _ended) = connect(server.addr).await;
        let mut asked = tokio::task::JoinSet::new();
        for i in 0..40 {
            let (mut client, addr) = (client.clone(), server.addr);
            asked.spawn(async move {
                let body = one(i).to_string();
                (i, post(&mut client, addr, "/v1/recommend", body).await)
            });
        }
        let mut answers = 0;
        while let Some(answered) = asked.join_next().await {
            let (i, (status, answer)) = answered.unwrap();
            assert_eq!(status, 200);
            assert_eq!(answer, server.post("/v1/recommend", &one(i)).json(), "{i}");
            answers += 1;
        }
        assert_eq!(answers, 40);
    });
}

#[test]
fn http2_request_with_large_head_or_body_is_refused() {
    let server = TestServer::start(|_| {});
    runtime().block_on(async {
        let (mut client, _ended) = connect(server.addr).await;
        let mut large = request(server.addr, Method::GET, "/health/live");
        for i in 0..20 {
            let name = axum::http::HeaderName::try_from(format!("x-{i}")).unwrap();
            large
                .headers_mut()
                .insert(name, "v".repeat(4_000).parse().unwrap());
        }
        let (response, _) = client.send_request(large, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 431);
        let (status, problem) = post(
            &mut client,
            server.addr,
            "/v1/recommend",
            " ".repeat(2 << 20),
        )
        .await;
        assert_eq!(
            (status, &problem["status"]),
            (StatusCode::PAYLOAD_TOO_LARGE, &json!(413))
        );
    });
}

#[test]
fn idle_http2_connection_is_closed() {
    let server = TestServer::start(|o| o.header_timeout = Duration::from_millis(100));
    runtime().block_on(async {
        let (mut client, ended) = connect(server.addr).await;
        let body = json!({"items": []}).to_string();
        let (status, _) = post(&mut client, server.addr, "/v1/recommend", body).await;
        assert_eq!(status, 200);
        let start = Instant::now();
        ended.await.unwrap();
        let seconds = start.elapsed().as_secs_f64();
        assert!((0.05..5.0).contains(&seconds), "{seconds}");
    });
}

#[test]
fn stop_answers_begun_http2_request() {
    let server = TestServer::start(|o| o.timeout = Duration::from_secs(20));
    let addr = server.addr;
    runtime().block_on(async {
        let (mut client, ended) = connect(addr).await;
        let begun = request(addr, Method::POST, "/v1/recommend");
        let (response, mut stream) = client.send_request(begun, false).unwrap();
        while !server
            .get("/metrics")
            .body
            .contains("prl_requests_in_flight 1\n")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stopping = std::thread::spawn(move || server.stop());
        while TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stream.send_data(r#"{"items":[]}"#.into(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        while let Some(chunk) = body.data().await {
            chunk.unwrap();
        }
        drop((client, body));
        ended.await.unwrap();
        assert!(stopping.join().unwrap().is_ok());
    });
}
