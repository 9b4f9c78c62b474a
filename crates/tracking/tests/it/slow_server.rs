//! A real MLflow server, with a database.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use prl_tracking::Target;

use crate::common::{python_with, read_back, settings, train};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // The server starts workers, which end with the process group.
        _ = Command::new("kill")
            .args(["-TERM", "--", &format!("-{}", self.0.id())])
            .status();
        _ = self.0.wait();
    }
}

fn start(python: &str, dir: &std::path::Path) -> (Server, String) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let mut command = Command::new(python);
    command.args(["-m", "mlflow", "server", "--port", &port, "--workers", "1"]);
    command.args(["--backend-store-uri", "sqlite:///mlflow.db"]);
    command.current_dir(dir);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let server = Server(command.spawn().unwrap());
    let address = format!("127.0.0.1:{port}");
    let deadline = Instant::now() + Duration::from_secs(90);
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(Instant::now() < deadline, "the server does not start");
        sleep(Duration::from_millis(100));
    }
    (server, format!("http://{address}"))
}

/// Interrupted and resumed, and down in between: every number arrives once.
#[test]
fn server_has_the_numbers_of_an_interrupted_training() {
    let Some(python) = python_with("mlflow") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let config = settings(dir.path());
    let run = dir.path().join("run");
    let (server, url) = start(&python, dir.path());
    let targets = [Target::MlflowServer(url.clone())];
    train(&config, &run, Some(7), &targets);
    train(&config, &run, None, &targets);
    let all = read_back(&python, &run, &["mlflow", &url, "run"]);
    assert_eq!(all["equal"], 4 * 27);
    assert_eq!(all["settings"]["model.dim"], "8");
    assert_eq!(all["status"], "FINISHED");
    drop(server);
}
