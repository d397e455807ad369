//! A web server on this machine that misbehaves as told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How one request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// As a good server does, ranges and all.
    Good,
    /// The whole, whatever range is asked for.
    Whole,
    /// As a good server does, but the connection ends after so many bytes of the body.
    Cut(usize),
    /// With this status and no body.
    Status(u16),
    /// With a redirection to this path.
    Moved(&'static str),
    /// With a range other than the one asked for.
    WrongRange,
}

/// The server; it ends with the test.
pub struct Server {
    /// Where it is.
    pub url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    body: Vec<u8>,
    tag: String,
    plan: Vec<Answer>,
    asked: Vec<String>,
}

impl Server {
    /// Serves `body`.
    pub fn with(body: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/image", listener.local_addr().unwrap());
        let state = State { body: body.to_vec(), tag: "\"one\"".into(), plan: Vec::new(), asked: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let theirs = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is part of the test.
                let _ = answer(&stream, &theirs);
            }
        });
        Self { url, state }
    }

    /// Answers the next requests so, and as a good server after that.
    pub fn plan(&self, answers: impl IntoIterator<Item = Answer>) -> &Self {
        self.state.lock().unwrap().plan = answers.into_iter().collect();
        self
    }

    /// Serves another file from now on.
    pub fn replace(&self, body: &[u8]) {
        let mut state = self.state.lock().unwrap();
        state.body = body.to_vec();
        state.tag = "\"two\"".into();
    }

    /// The ranges asked for so far, `-` where the whole was; forgets them.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (mut range, mut condition) = (None, None);
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let (key, value) = line.split_once(": ").unwrap_or((&line, ""));
        match key.to_ascii_lowercase().as_str() {
            "" => break,
            "range" => range = value.strip_prefix("bytes=").map(str::to_owned),
            "if-range" => condition = Some(value.to_owned()),
            _ => {}
        }
    }
    let (body, tag, how) = {
        let mut state = state.lock().unwrap();
        state.asked.push(range.clone().unwrap_or_else(|| "-".into()));
        let how = if state.plan.is_empty() { Answer::Good } else { state.plan.remove(0) };
        (state.body.clone(), state.tag.clone(), how)
    };
    let same = condition.is_none_or(|c| c == tag);
    let start = range.filter(|_| same).and_then(|r| r.trim_end_matches('-').parse::<usize>().ok());
    let (status, extra, send) = match (&how, start) {
        (Answer::Status(code), _) => (format!("{code} Sorry"), String::new(), &body[..0]),
        (Answer::Moved(to), _) => ("302 Found".into(), format!("Location: {to}\r\n"), &body[..0]),
        (Answer::WrongRange, Some(_)) => {
            ("206 Partial Content".into(), format!("Content-Range: bytes 0-9/{}\r\n", body.len()), &body[..10])
        }
        (Answer::Good | Answer::Cut(_), Some(start)) if start < body.len() => {
            let range = format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len());
            ("206 Partial Content".into(), range, &body[start..])
        }
        (Answer::Good | Answer::Cut(_), Some(_)) => {
            let range = format!("Content-Range: bytes */{}\r\n", body.len());
            ("416 Range Not Satisfiable".into(), range, &body[..0])
        }
        _ => ("200 OK".into(), String::new(), &body[..]),
    };
    let length = send.len();
    write!(stream, "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {length}\r\n{extra}Connection: close\r\n\r\n")?;
    let end = if let Answer::Cut(after) = how { after.min(length) } else { length };
    stream.write_all(&send[..end])
}
