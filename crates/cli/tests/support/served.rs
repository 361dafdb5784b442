//! `trefoil serve` in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Place;

/// A server on a free port that is killed when it is dropped.
pub struct Served {
    pub child: Child,
    pub url: String,
    pub models: Value,
}

impl Served {
    pub fn start(place: &Place, arguments: &[&str]) -> Self {
        let arguments = [&["serve", "--port", "0", "--json"], arguments].concat();
        let mut child = place.command(&arguments).stderr(Stdio::null()).spawn().expect("starts");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("is piped");
        BufReader::new(out).read_line(&mut line).expect("says where it listens");
        let said: Value = serde_json::from_str(&line).expect("is JSON");
        let url = said["url"].as_str().expect("an address").to_owned();
        Served { child, url, models: said["models"].clone() }
    }

    /// The body of a page.
    pub fn get(&self, path: &str) -> String {
        let host = self.url.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(host).expect("listens");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer secret\r\n\
             connection: close\r\n\r\n"
        )
        .expect("takes a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answers");
        text
    }

    /// What answers a body in JSON, which must be JSON as well.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let mut text = String::new();
        self.open(path, body).read_to_string(&mut text).expect("answers");
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Sends a body in JSON and leaves the answer to the caller.
    pub fn open(&self, path: &str, body: &Value) -> TcpStream {
        let host = self.url.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(host).expect("listens");
        let body = body.to_string();
        let length = body.len();
        // HTTP/1.0 has no framing.
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("takes a request");
        stream
    }

    /// Waits until no answer of a model is under way.
    pub fn until_idle(&self, model: &str) {
        let active = format!("trefoil_requests_active{{model=\"{model}\"}} 0\n");
        let idle = (0..300).any(|_| {
            let idle = self.get("/metrics").contains(&active);
            if !idle {
                std::thread::sleep(Duration::from_millis(100));
            }
            idle
        });
        assert!(idle, "answers are under way: {}", self.get("/metrics"));
    }

    #[cfg(unix)]
    pub fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-INT", &pid]).status().expect("kill is there");
        assert!(killed.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
