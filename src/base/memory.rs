//! How the process asks for memory.
#![allow(unsafe_code)]

/// The least that is asked for at a time.
const STEP: i32 = 1 << 20;
/// So much at once is asked for apart, and given back at once.
const APART: i32 = 4 << 20;
/// So much may lie free at the end.
const SPARE: i32 = 64 << 20;

/// For a command that ends soon: memory is asked for in large steps, and hardly ever given back before the end.
///
/// The C library asks for a page or two at a time, and every such call makes the threads of the process wait for each
/// other. Memory that is asked for and not used takes none.
pub fn in_large_steps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: they set numbers in the C library's allocator, which looks after itself.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, STEP);
        libc::mallopt(libc::M_MMAP_THRESHOLD, APART);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
    }
}
