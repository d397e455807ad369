//! Work on many things at once.

use rayon::prelude::*;

/// So many are done sooner by one thread than by waking others for them.
const FEW: usize = 64;

/// Does it for each of them, on all cores where they are many; the results stand in their order.
pub fn for_each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Send + Sync) -> Vec<R> {
    if items.len() < FEW {
        items.iter().map(work).collect()
    } else {
        items.par_iter().with_min_len(8).map(work).collect()
    }
}
