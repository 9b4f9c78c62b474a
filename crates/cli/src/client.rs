//! Client of a running `prl serve`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server's address, with persistent connections that threads share.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    /// Value of the header Authorization, if there is an API key.
    authorization: Option<String>,
}

impl Client {
    /// A client of the server at `url`; the API key, if any, is in the environment's `PRL_API_KEY`.
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        let key = std::env::var("PRL_API_KEY").ok();
        Self {
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
            authorization: key.map(|key| format!("Bearer {}", key.trim())),
        }
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The body of the answer to a GET.
    ///
    /// # Errors
    /// If the server does not answer, or with a problem.
    pub fn get(&self, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.get(&url);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        body(&url, request.call())
    }

    /// The body of the answer to a POST of JSON.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn post(&self, path: &str, json: String) -> Result<String> {
        let url = format!("{}{path}", self.url);
        let mut request = self
            .agent
            .post(&url)
            .header("content-type", "application/json");
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        body(&url, request.send(json))
    }
}

/// The body of a successful response.
fn body(
    url: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<String> {
    let mut response = response.with_context(|| format!("no answer from {url}"))?;
    let text = response
        .body_mut()
        .read_to_string()
        .with_context(|| format!("incomplete answer from {url}"))?;
    if response.status().is_success() {
        return Ok(text);
    }
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    bail!(
        "{url}: {}: {}",
        response.status(),
        problem["detail"]
            .as_str()
            .unwrap_or("not a response of prl serve")
    )
}
