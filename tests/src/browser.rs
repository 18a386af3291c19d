//! A real browser without a screen: pages that are opened, typed into and looked at, over its debugging protocol.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a page.
const PAUSE: Duration = Duration::from_millis(20);

/// A browser, with a profile of its own.
pub struct Browser {
    process: Child,
    port: u16,
    line: Line,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; none if it is not installed.
    ///
    /// # Panics
    /// If it is, and does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let profile = tempfile::tempdir().expect("a folder can be made");
        let mut command = Command::new("chromium");
        command.args(["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--remote-debugging-port=0"]);
        if rustix::process::getuid().is_root() {
            // Its sandbox wants another user. It sees only our own pages.
            command.arg("--no-sandbox");
        }
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let told = profile.path().join("DevToolsActivePort");
        let start = Instant::now();
        let (port, path) = loop {
            let text = fs::read_to_string(&told).unwrap_or_default();
            if let Some((port, path)) = text.trim_end().split_once('\n') {
                break (port.parse().expect("a port is a number"), path.to_owned());
            }
            assert!(start.elapsed() < PATIENCE, "the browser never said where it listens");
            thread::sleep(PAUSE);
        };
        Some(Self { process, port, line: Line::to(port, &path), _profile: profile })
    }

    /// Opens a page in a window of its own.
    pub fn open(&mut self, url: &str) -> Page {
        let made = self.line.call("Target.createTarget", &json!({ "url": url, "newWindow": true }));
        let id = made["targetId"].as_str().unwrap_or_default();
        Page { line: Line::to(self.port, &format!("/devtools/page/{id}")) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An open page.
pub struct Page {
    line: Line,
}

impl Page {
    /// What an expression of its language is there.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Json {
        let params = json!({ "expression": expression, "returnByValue": true });
        self.line.call("Runtime.evaluate", &params)["result"]["value"].take()
    }

    /// Waits until an expression is true there.
    ///
    /// # Panics
    /// If it never is.
    #[track_caller]
    pub fn wait_until(&mut self, expression: &str) {
        let start = Instant::now();
        while self.value(expression) != json!(true) {
            if start.elapsed() > PATIENCE {
                let text = self.value("document.body.innerText");
                panic!("never true: {expression}; the page says {text}");
            }
            thread::sleep(PAUSE);
        }
    }

    /// Types into the element that a selector names, as a person would.
    #[track_caller]
    pub fn type_into(&mut self, selector: &str, text: &str) {
        self.wait_until(&format!("!!document.querySelector({})", json!(selector)));
        self.value(&format!("document.querySelector({}).focus()", json!(selector)));
        self.line.call("Input.insertText", &json!({ "text": text }));
    }

    /// Presses the key that ends a line.
    #[track_caller]
    pub fn enter(&mut self) {
        for kind in ["keyDown", "keyUp"] {
            let key =
                json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" });
            self.line.call("Input.dispatchKeyEvent", &key);
        }
    }
}

impl Page {
    /// What it looks like in a window of this size, as a PNG.
    ///
    /// # Panics
    /// If the browser does not say.
    #[track_caller]
    pub fn picture(&mut self, wide: u32, high: u32, is_dark: bool) -> Vec<u8> {
        let scheme = if is_dark { "dark" } else { "light" };
        let size = json!({ "width": wide, "height": high, "deviceScaleFactor": 1, "mobile": false });
        self.line.call("Emulation.setDeviceMetricsOverride", &size);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.line.call("Emulation.setEmulatedMedia", &media);
        // Two frames later, what follows from that has been drawn.
        let drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))";
        self.line.call("Runtime.evaluate", &json!({ "expression": drawn, "awaitPromise": true }));
        let taken = self.line.call("Page.captureScreenshot", &json!({ "format": "png" }));
        from_base64(taken["data"].as_str().expect("a picture is text"))
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte));
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(text.len()), 0_usize, 0);
    for digit in digits {
        (held, bits) = (held << 6 | digit, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits).expect("a byte is left"));
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

/// A line to the browser, over which one thing is asked at a time.
struct Line {
    socket: WebSocket<TcpStream>,
    asked: u64,
}

impl Line {
    fn to(port: u16, path: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a patience");
        let (socket, _) = client(format!("ws://127.0.0.1:{port}{path}"), stream).expect("the browser agrees");
        Self { socket, asked: 0 }
    }

    #[track_caller]
    fn call(&mut self, method: &str, params: &Json) -> Json {
        self.asked += 1;
        let asked = json!({ "id": self.asked, "method": method, "params": params });
        self.socket.send(Message::text(asked.to_string())).expect("the browser listens");
        loop {
            let Message::Text(text) = self.socket.read().expect("the browser answers") else { continue };
            let mut said: Json = serde_json::from_str(&text).expect("the browser speaks JSON");
            if said["id"] == json!(self.asked) {
                assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                return said["result"].take();
            }
        }
    }
}
