//! `reeve console`: connects the terminal to a guest's serial console or a container's terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::observe::look;
use crate::cli::args::One;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::session::Session;
use crate::kinds::Console;
use crate::plan::live::Known;

/// The key that leaves, Ctrl-].
const LEAVE: u8 = 0x1d;

/// Connects.
pub async fn run(session: &Session, args: &One) -> Result {
    let reference = &args.resource;
    let (state, _) = look(session).await?;
    let live = match state.get(reference) {
        Known::Present(live) => live,
        Known::Absent => {
            return Err(CliError::with_help(format!("{reference} is not there"), "`reeve get` lists what there is"));
        }
        Known::Unknown(why) => return Err(CliError::new(format!("{reference} cannot be read: {why}"))),
    };
    match live.console(&session.world(), &reference.name).await? {
        Console::Program(argv) => program(&argv),
        Console::Device(path) => {
            eprintln!("Connected to {reference}. Ctrl-] leaves.");
            tokio::task::spawn_blocking(move || device(&path))
                .await
                .map_err(|e| CliError::new(format!("the console broke off: {e}")))?
        }
    }
}

fn program(argv: &[String]) -> Result {
    use std::os::unix::process::CommandExt as _;
    let Some((name, rest)) = argv.split_first() else { return Err(CliError::new("there is no console program")) };
    // Replaces this process, so that the terminal belongs to the program alone.
    let error = std::process::Command::new(name).args(rest).exec();
    Err(CliError::new(format!("{name} cannot be run: {error}")))
}

/// The terminal's settings, put back when this is dropped.
struct Raw<'a>(BorrowedFd<'a>, Option<Termios>);

impl<'a> Raw<'a> {
    fn enter(fd: BorrowedFd<'a>) -> Self {
        let before = tcgetattr(fd).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // Without raw mode the console is awkward, not wrong.
            let _ = tcsetattr(fd, OptionalActions::Now, &raw);
        }
        Self(fd, before)
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.1 {
            let _ = tcsetattr(self.0, OptionalActions::Now, before);
        }
    }
}

fn device(path: &Path) -> Result {
    let open = File::options().read(true).write(true).open(path);
    let mut device =
        open.map_err(|e| CliError::new(format!("the console {} cannot be opened: {e}", path.display())))?;
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    let input = std::io::stdin();
    let _raw = Raw::enter(input.as_fd());
    let device_raw = device.try_clone()?;
    let _device_raw = Raw::enter(device_raw.as_fd());
    let mut buffer = [0_u8; 4096];
    loop {
        let (from_device, from_person) = {
            let mut fds = [PollFd::new(&device, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
            poll(&mut fds, None).map_err(std::io::Error::from)?;
            (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
        };
        if from_device {
            match device.read(&mut buffer) {
                Ok(0) | Err(_) => return Ok(Exit::Done),
                Ok(n) => {
                    stdout.write_all(&buffer[..n])?;
                    stdout.flush()?;
                }
            }
        }
        if from_person {
            let n = stdin.read(&mut buffer)?;
            if n == 0 || buffer[..n].contains(&LEAVE) {
                return Ok(Exit::Done);
            }
            device.write_all(&buffer[..n])?;
        }
    }
}
