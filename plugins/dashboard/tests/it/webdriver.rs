//! A browser driven through W3C WebDriver, as far as the tests need it.

use serde_json::{Value, json};
use std::env;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A window of a headless Chromium; closed when dropped.
pub(crate) struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    _profile: TempDir,
}

/// The program an environment variable names, or the first of these that is on the path.
fn program(variable: &str, names: &[&str]) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).or_else(|| {
        let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
        let mut places = names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        places.find(|place| place.is_file())
    })
}

/// Says so where it is seen although the test passes.
fn not_run(reason: &str) -> Option<Browser> {
    let _ = writeln!(
        std::io::stderr(),
        "not run: the page in a browser, since {reason}; see CONTRIBUTING.md"
    );
    None
}

impl Browser {
    /// `None`, with a word on stderr, if there is no browser or no driver for it.
    pub(crate) fn start() -> Option<Browser> {
        let Some(chromium) = program(
            "KEROS_TEST_CHROMIUM",
            &["chromium", "chromium-browser", "google-chrome"],
        ) else {
            return not_run("no Chromium is on the PATH, and KEROS_TEST_CHROMIUM names none");
        };
        let Some(driver) = program("KEROS_TEST_CHROMEDRIVER", &["chromedriver"]) else {
            return not_run(
                "no chromedriver is on the PATH, and KEROS_TEST_CHROMEDRIVER names none",
            );
        };
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.unwrap();
                let port = line.split_once("started successfully on port ")?.1;
                Some(port.trim_end_matches('.').to_owned())
            })
            .expect("the driver tells its port");
        let profile = tempfile::tempdir().unwrap();
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let mut browser = Browser {
            driver,
            agent: config.build().into(),
            session: format!("http://127.0.0.1:{port}/session"),
            _profile: profile,
        };
        let user_data = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            user_data,
        ]);
        let options = json!({ "binary": chromium.to_string_lossy(), "args": arguments });
        let wanted = json!({ "alwaysMatch": { "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } } });
        let session = browser.post("", &json!({ "capabilities": wanted }));
        browser.session += &format!("/{}", session["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let url = format!("{}{command}", self.session);
        let request = self
            .agent
            .post(url)
            .header("content-type", "application/json");
        let mut response = request.send(body.to_string()).unwrap();
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string()
            .unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(response.status().is_success(), "{command}: {text}");
        answer["value"].clone()
    }

    pub(crate) fn go_to(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// What a script in the page returns.
    pub(crate) fn script(&self, code: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": code, "args": [] }))
    }

    /// Clicks as a mouse does: fails if the element is hidden, or something is in front of it.
    pub(crate) fn click(&self, selector: &str) {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.post("/element", &wanted);
        let id = found
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned();
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// What went wrong in the page since the last call.
    pub(crate) fn errors(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().unwrap().iter();
        let severe = entries.filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    /// A command of Chromium's DevTools.
    pub(crate) fn devtools(&self, command: &str, params: &Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": params }),
        )
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; its driver is ours to end.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
