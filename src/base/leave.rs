//! How the process ends.
#![allow(unsafe_code)]

use std::io::Write as _;

/// Ends the process at once with this code, after what was printed is out.
///
/// Nothing that C libraries registered for the end runs. Threads that are in calls of libvirt, or that end just now, use
/// those libraries still; the usual way out takes the libraries down under them, and such a process now and then died of
/// a signal after its work was done. The kernel takes everything back that they would have given back.
pub fn leave(code: u8) -> ! {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    // SAFETY: it takes a number and does not come back.
    unsafe { libc::_exit(code.into()) }
}
