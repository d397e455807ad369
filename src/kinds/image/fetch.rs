//! An image from a URL: streamed into a `.part` file, which outlives a crash and is continued from where it ends.
//!
//! A continued download asks for the rest only if the file at the URL is still the same (`If-Range`), and whatever the
//! server does, the SHA-256 of the whole decides. A sum that is wrong after a continuation is tried once more from the
//! start before it is an error. Failures that may pass are retried with growing pauses, for as long as bytes arrive.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use backon::BackoffBuilder as _;
use futures::StreamExt as _;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::shelf::{hex, part_note, remove_file, write_whole};
use super::work::off_thread;
use crate::base::fault::Attempt as _;
use crate::base::{Fault, FaultKind};
use crate::kinds::Task;

/// How many redirections are followed.
const REDIRECTS: usize = 10;
/// How long a server may stay silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How many tries in a row may bring no byte.
const TRIES: usize = 5;

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// From where.
    pub url: &'a str,
    /// The SHA-256 it must have, in lower case.
    pub sha256: &'a str,
    /// Into which file.
    pub part: &'a Path,
}

/// What a server said of the file that a part belongs to.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    validator: Option<String>,
}

/// Fetches the whole file into `wanted.part`, durably; its SHA-256 is then the one wanted.
pub async fn fetch(task: &Task<'_>, wanted: Wanted<'_>) -> Result<(), Fault> {
    let client = client()?;
    let mut again = true;
    loop {
        let (sum, continued) = download(task, &client, wanted).await?;
        if sum == wanted.sha256 {
            return Ok(());
        }
        remove_file(wanted.part)?;
        remove_file(&part_note(wanted.part))?;
        if !(continued && std::mem::take(&mut again)) {
            return Err(Fault::new(
                FaultKind::Invalid,
                format!("{} has sha256 {sum}, and the manifest says {}", wanted.url, wanted.sha256),
            )
            .help(
                "what was fetched is removed; if the publisher replaced the file, check it and correct source.sha256",
            ));
        }
        tracing::warn!(url = wanted.url, "a continued download has the wrong sum; fetching it from the start");
    }
}

fn client() -> Result<Client, Fault> {
    Client::builder()
        .user_agent(concat!("reeve/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
        .connect_timeout(Duration::from_secs(15))
        .read_timeout(SILENCE)
        .build()
        .map_err(|error| Fault::other(format!("prepare a download: {}", chain(&error))))
}

/// Brings the part to its end; gives the sum of the whole, and whether it was made of more than one piece.
async fn download(task: &Task<'_>, client: &Client, wanted: Wanted<'_>) -> Result<(String, bool), Fault> {
    let (mut sum, mut length) = open_part(task, wanted.part).await?;
    let mut continued = length > 0;
    let pauses = || {
        backon::ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(20))
            .with_max_times(TRIES - 1)
            .build()
    };
    let mut left = pauses();
    loop {
        let before = length;
        let fault = match piece(task, client, wanted, &mut sum, &mut length).await {
            Ok(()) => return Ok((hex(&sum.finalize()), continued)),
            Err(fault) if fault.retryable() => fault,
            Err(fault) => return Err(fault),
        };
        continued = length > 0;
        if length > before {
            left = pauses();
        }
        let Some(pause) = left.next() else { return Err(fault) };
        tracing::info!(url = wanted.url, at = length, %fault, "download broke off; trying again");
        task.world.clock.sleep(pause).await;
    }
}

/// Reads what an earlier run fetched.
async fn open_part(task: &Task<'_>, part: &Path) -> Result<(Sha256, u64), Fault> {
    let part = part.to_owned();
    off_thread(task, "continue", move |meter| {
        let mut sum = Sha256::new();
        let mut file = match File::open(&part) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((sum, 0)),
            Err(error) => return Err(Fault::from(error).context(format!("open {}", part.display()))),
        };
        meter.expect(file.metadata().map_or(0, |m| m.len()));
        let (mut length, mut buffer) = (0, vec![0; 1 << 20]);
        loop {
            let read = file.read(&mut buffer).attempt(|| format!("read {}", part.display()))?;
            if read == 0 {
                return Ok((sum, length));
            }
            sum.update(&buffer[..read]);
            length += read as u64;
            meter.add(read as u64)?;
        }
    })
    .await
}

/// Asks once for what is missing and writes down what comes.
async fn piece(
    task: &Task<'_>,
    client: &Client,
    wanted: Wanted<'_>,
    sum: &mut Sha256,
    length: &mut u64,
) -> Result<(), Fault> {
    let doing = || format!("fetch {}", wanted.url);
    let sent = ask(client, wanted, *length).await?;
    let from = match (sent.status(), content_range(sent.headers())) {
        (StatusCode::OK, _) => 0,
        (StatusCode::PARTIAL_CONTENT, Some((Some(start), _))) if start == *length => start,
        // The part is all there is, and only its sum is left to be looked at.
        (StatusCode::RANGE_NOT_SATISFIABLE, Some((None, Some(total)))) if total == *length => return Ok(()),
        (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
            start_over(wanted.part, sum, length)?;
            return Err(Fault::new(FaultKind::Unavailable, format!("{}: the server cannot continue it", doing())));
        }
        (status, _) => return Err(refused(wanted.url, status)),
    };
    if from == 0 {
        start_over(wanted.part, sum, length)?;
        remember(wanted.part, sent.headers())?;
    }
    let total = sent.content_length().map_or(0, |rest| from + rest);
    let file = OpenOptions::new().create(true).append(true).open(wanted.part);
    let mut file = file.attempt(|| format!("open {}", wanted.part.display()))?;
    let mut chunks = sent.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| unreachable(wanted.url, &error))?;
        file.write_all(&chunk).attempt(|| format!("write {}", wanted.part.display()))?;
        sum.update(&chunk);
        *length += chunk.len() as u64;
        task.progress.step(task.reference, "download", *length, total);
    }
    file.sync_all().attempt(|| format!("write {}", wanted.part.display()))
}

async fn ask(client: &Client, wanted: Wanted<'_>, length: u64) -> Result<Response, Fault> {
    let mut request = client.get(wanted.url);
    if length > 0 {
        request = request.header(RANGE, format!("bytes={length}-"));
        if let Some(validator) = recall(wanted.part).validator {
            request = request.header(IF_RANGE, validator);
        }
    }
    request.send().await.map_err(|error| unreachable(wanted.url, &error))
}

fn start_over(part: &Path, sum: &mut Sha256, length: &mut u64) -> Result<(), Fault> {
    remove_file(part)?;
    remove_file(&part_note(part))?;
    *sum = Sha256::new();
    *length = 0;
    Ok(())
}

/// Notes what tells one version of the file from another: a strong ETag, or the time of its last change.
fn remember(part: &Path, headers: &HeaderMap) -> Result<(), Fault> {
    let text = |value: Option<&HeaderValue>| value.and_then(|v| v.to_str().ok()).map(str::to_owned);
    let etag = text(headers.get(ETAG)).filter(|tag| !tag.starts_with("W/"));
    let note = Note { validator: etag.or_else(|| text(headers.get(LAST_MODIFIED))) };
    let path = part_note(part);
    let bytes = serde_json::to_vec(&note).map_err(|e| Fault::other(e.to_string()))?;
    write_whole(&path, &bytes).attempt(|| format!("write {}", path.display()))
}

fn recall(part: &Path) -> Note {
    std::fs::read(part_note(part)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// The start and the total in `bytes START-END/TOTAL` or `bytes */TOTAL`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-').and_then(|(start, _)| start.parse().ok()), total.parse().ok()))
}

fn refused(url: &str, status: StatusCode) -> Fault {
    let message = format!("fetch {url}: the server answers {status}");
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Fault::new(FaultKind::NotFound, message).help("correct source.url; the publisher may have moved the file")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Fault::new(FaultKind::Denied, message),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Fault::new(FaultKind::Unavailable, message),
        status if status.is_server_error() => Fault::new(FaultKind::Unavailable, message),
        _ => Fault::other(message),
    }
}

fn unreachable(url: &str, error: &reqwest::Error) -> Fault {
    let message = format!("fetch {url}: {}", chain(error));
    if error.is_redirect() || error.is_builder() {
        return Fault::other(message);
    }
    let kind = if error.is_timeout() { FaultKind::Deadline } else { FaultKind::Unavailable };
    Fault::new(kind, message).help("what was fetched is kept: apply again and it continues from there")
}

/// What an error says together with what caused it, without repeating the URL.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        words.push(cause.to_string());
        next = cause.source();
    }
    words.pop().unwrap_or_else(|| error.to_string())
}
