//! MLflow's server, by its REST interface.
//!
//! `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, are sent
//! as MLflow's own client does. Calls end after four seconds.

use std::time::Duration;

use serde_json::{Value, json};

use super::{LAST_METRIC, millis, params, tags};
use crate::error::{Error, Result};
use crate::numbers::{Record, now};
use crate::run_ids::RunIds;
use crate::target::{Target, mlflow_experiment};
use crate::tracked_run::{RunEnd, TrackedRun, Tracker};

/// Time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of metrics, and of parameters, in a call.
const MAX_METRICS: usize = 1_000;
const MAX_PARAMS: usize = 100;
const API: &str = "/api/2.0/mlflow";

/// A run of a server.
pub(crate) struct MlflowServer {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
    run: TrackedRun,
    ids: RunIds,
    /// Identifier of the run, once it is open.
    id: String,
}

/// An answer that is an error: status, MLflow's code and its message.
struct Refusal {
    status: u16,
    code: String,
    message: String,
}

impl MlflowServer {
    /// The run at the server `url`.
    pub fn new(url: String, run: TrackedRun, ids: RunIds) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self {
            agent: config.into(),
            url,
            authorization: authorization(),
            run,
            ids,
            id: String::new(),
        }
    }

    /// The answer to a POST.
    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{API}{path}", self.url);
        match self.call(&url, Some(body))? {
            Ok(answer) => Ok(answer),
            Err(refusal) => Err(refused(&url, &refusal)),
        }
    }

    /// The answer to a GET; `None` if there is no such thing.
    fn get(&self, path: &str) -> Result<Option<Value>> {
        let url = format!("{}{API}{path}", self.url);
        match self.call(&url, None)? {
            Ok(answer) => Ok(Some(answer)),
            Err(refusal) if refusal.code == "RESOURCE_DOES_NOT_EXIST" => Ok(None),
            Err(refusal) => Err(refused(&url, &refusal)),
        }
    }

    fn call(&self, url: &str, body: Option<&Value>) -> Result<std::result::Result<Value, Refusal>> {
        let failed = |error: ureq::Error| Error::Server {
            url: url.to_owned(),
            cause: error.to_string(),
        };
        let response = match body {
            Some(body) => {
                let mut request = self.agent.post(url);
                request = request.header("content-type", "application/json");
                if let Some(value) = &self.authorization {
                    request = request.header("authorization", value);
                }
                request.send(body.to_string())
            }
            None => {
                let mut request = self.agent.get(url);
                if let Some(value) = &self.authorization {
                    request = request.header("authorization", value);
                }
                request.call()
            }
        };
        let mut response = response.map_err(failed)?;
        let text = response.body_mut().read_to_string().map_err(failed)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if response.status().is_success() {
            return Ok(Ok(answer));
        }
        let field = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Ok(Err(Refusal {
            status: response.status().as_u16(),
            code: field("error_code"),
            message: field("message"),
        }))
    }

    /// Identifier of the experiment, which is created if there is none of the name.
    fn experiment(&self) -> Result<String> {
        let name = mlflow_experiment();
        let path = format!(
            "/experiments/get-by-name?experiment_name={}",
            encoded(&name)
        );
        if let Some(answer) = self.get(&path)? {
            return self.text(&path, &answer["experiment"]["experiment_id"]);
        }
        let path = "/experiments/create";
        let answer = self.post(path, &json!({ "name": name }))?;
        self.text(path, &answer["experiment_id"])
    }

    /// Creates the run; its identifier.
    fn create(&self) -> Result<String> {
        let mut all = Vec::new();
        for (key, value) in tags(&self.run) {
            all.push(json!({ "key": key, "value": value }));
        }
        let body = json!({
            "experiment_id": self.experiment()?,
            "run_name": self.run.name,
            "start_time": millis(now()),
            "tags": all,
        });
        let path = "/runs/create";
        let answer = self.post(path, &body)?;
        self.text(path, &answer["run"]["info"]["run_id"])
    }

    /// Sends the settings; once more, they change nothing.
    fn send_params(&self) -> Result<()> {
        let mut all = Vec::new();
        for (key, value) in params(&self.run) {
            all.push(json!({ "key": key, "value": value }));
        }
        for params in all.chunks(MAX_PARAMS) {
            let body = json!({ "run_id": self.id, "params": params });
            self.post("/runs/log-batch", &body)?;
        }
        Ok(())
    }

    /// A text of an answer.
    fn text(&self, path: &str, value: &Value) -> Result<String> {
        match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(Error::Server {
                url: format!("{}{API}{path}", self.url),
                cause: "the answer is not MLflow's".into(),
            }),
        }
    }

    fn set_status(&self, status: &str, end: Option<i64>) -> Result<()> {
        let mut body = json!({ "run_id": self.id, "status": status });
        if let Some(end) = end {
            body["end_time"] = end.into();
        }
        self.post("/runs/update", &body)?;
        Ok(())
    }
}

impl Tracker for MlflowServer {
    fn open(&mut self) -> Result<Option<u64>> {
        let tracker = Target::MlflowServer(self.url.clone()).to_string();
        if let Some(id) = self.ids.get(&tracker)
            && let Some(answer) = self.get(&format!("/runs/get?run_id={}", encoded(&id)))?
        {
            self.id = id;
            self.set_status("RUNNING", None)?;
            let last = last_step(&answer);
            if last.is_none() {
                self.send_params()?;
            }
            return Ok(last);
        }
        self.id = self.create()?;
        // Before anything else is sent: a failure below must not create another run.
        self.ids.set(&tracker, &self.id)?;
        self.send_params()?;
        Ok(None)
    }

    fn log(&mut self, records: &[Record]) -> Result<()> {
        for record in records {
            let (mut metrics, mut last) = (Vec::new(), Vec::new());
            for (name, number) in &record.numbers {
                let metric = json!({
                    "key": name, "value": number,
                    "timestamp": millis(record.time), "step": record.step,
                });
                let list = if name == LAST_METRIC {
                    &mut last
                } else {
                    &mut metrics
                };
                list.push(metric);
            }
            metrics.append(&mut last);
            for metrics in metrics.chunks(MAX_METRICS) {
                let body = json!({ "run_id": self.id, "metrics": metrics });
                self.post("/runs/log-batch", &body)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, end: RunEnd) -> Result<()> {
        let status = match end {
            RunEnd::Finished => "FINISHED",
            RunEnd::Interrupted => "KILLED",
            RunEnd::Failed => "FAILED",
        };
        self.set_status(status, Some(millis(now())))
    }
}

/// Last step of a run, of the answer that describes it.
fn last_step(answer: &Value) -> Option<u64> {
    for metric in answer["run"]["data"]["metrics"].as_array()? {
        if metric["key"] == LAST_METRIC {
            // An int64 is a text in the JSON of protocol buffers.
            let step = &metric["step"];
            let text = step.as_str().and_then(|text| text.parse().ok());
            return text.or(step.as_u64());
        }
    }
    None
}

fn refused(url: &str, refusal: &Refusal) -> Error {
    Error::Server {
        url: url.split('?').next().unwrap_or(url).to_owned(),
        cause: format!(
            "status {} {} {}",
            refusal.status, refusal.code, refusal.message
        )
        .trim_end()
        .to_owned(),
    }
}

/// Value of the header Authorization, from the environment.
fn authorization() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(token) = variable("MLFLOW_TRACKING_TOKEN") {
        return Some(format!("Bearer {token}"));
    }
    let user = variable("MLFLOW_TRACKING_USERNAME")?;
    let password = variable("MLFLOW_TRACKING_PASSWORD").unwrap_or_default();
    Some(format!(
        "Basic {}",
        base64(format!("{user}:{password}").as_bytes())
    ))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for i in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// A value of a query, percent-encoded.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_its_last_group() {
        for (text, expected) in [
            ("", ""),
            ("a", "YQ=="),
            ("ab", "YWI="),
            ("abc", "YWJj"),
            ("u:p\u{fc}", "dTpww7w="),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn last_step_is_that_of_the_last_metric() {
        let answer = json!({ "run": { "data": { "metrics": [
            { "key": "loss", "step": 7 }, { "key": "epoch", "step": "5" },
        ] } } });
        assert_eq!(last_step(&answer), Some(5));
        assert_eq!(last_step(&json!({})), None);
    }
}
