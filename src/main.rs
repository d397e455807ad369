//! The `reeve` command.

fn main() {
    reeve::base::leave(reeve::cli::main());
}
