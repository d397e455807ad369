//! Looks at every process for a secret that none may show.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Does `work` while every process is looked at; fails when one has the secret in its arguments or its environment, or
/// when `work` never went on until a process was seen that has `sign` in its arguments. `work` is told how many.
pub fn nobody_shows(secret: &str, sign: &str, work: impl FnOnce(&AtomicU32)) {
    let (done, seen) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                seen.fetch_add(look(secret, sign), Ordering::SeqCst);
            }
        });
        // Also when something fails below, or the failure would not be seen.
        let _end = Raise(&done);
        work(&seen);
    });
    assert!(seen.load(Ordering::SeqCst) > 0, "no process with {sign} was ever seen");
}

/// Says at its end that it ended.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn look(secret: &str, sign: &str) -> u32 {
    let mut found = 0;
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        // It may have ended meanwhile.
        let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        assert!(!arguments.contains(secret) && !environment.contains(secret), "a process shows it: {arguments}");
        found += u32::from(arguments.contains(sign));
    }
    found
}
