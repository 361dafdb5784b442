//! A composition that another program serves, and a client for it.

#![allow(dead_code, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How long a host may compile.
const SECONDS_MAX: u64 = 300;

/// A server that is killed when it is dropped.
pub struct Hosted {
    child: Child,
    address: String,
}

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

/// An address of this machine that nobody listens at.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}

impl Hosted {
    /// Starts a program that will serve at the address, and waits until it does.
    pub fn start(mut program: Command, address: String) -> Self {
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = program.spawn().expect("starts");
        let mut hosted = Hosted { child, address };
        for _ in 0..SECONDS_MAX * 10 {
            if let Some(status) = hosted.child.try_wait().expect("is ours") {
                panic!("the server has ended with {status}");
            }
            if hosted.try_send("GET", "/health", "").is_ok_and(|reply| reply.status == 200) {
                return hosted;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("nobody listens at {}", hosted.address);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.try_send("GET", path, "").expect("answers")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &body.to_string())
    }

    pub fn send(&self, method: &str, path: &str, body: &str) -> Reply {
        self.try_send(method, path, body).expect("answers")
    }

    fn try_send(&self, method: &str, path: &str, body: &str) -> std::io::Result<Reply> {
        read(self.open(method, path, body)?)
    }

    /// Sends a request and leaves the answer to the caller.
    pub fn open(&self, method: &str, path: &str, body: &str) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(SECONDS_MAX)))?;
        let (address, length) = (&self.address, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        )?;
        Ok(stream)
    }

    /// Announces a body and sends none of it.
    pub fn announce(&self, path: &str, bytes: usize) -> Reply {
        let mut stream = TcpStream::connect(&self.address).expect("listens");
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {bytes}\r\n\
             \r\n",
            self.address
        )
        .expect("takes a request");
        read(stream).expect("answers")
    }
}

fn read(mut stream: TcpStream) -> std::io::Result<Reply> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let broken = || std::io::Error::other(format!("no answer: {text}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Reply { status: status.ok_or_else(broken)?, body: body.to_owned() })
}

impl Drop for Hosted {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status, code and parameter of an error.
    pub fn error(&self) -> (u16, Value, Value) {
        let error = self.json()["error"].clone();
        (self.status, error["code"].clone(), error["param"].clone())
    }
}
