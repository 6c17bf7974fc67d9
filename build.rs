//! Migrations are compiled in, but cargo doesn't know of files that only a macro reads.

#![allow(clippy::print_stdout, reason = "that is how cargo is spoken to")]

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
