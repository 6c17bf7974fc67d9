//! Migrations are compiled in, but cargo doesn't know of files that only a macro reads. And the
//! viewer of the API's description, Swagger UI, is taken out of the crate that packs it, so that
//! the binary has its files and a build fetches nothing.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "that is how cargo is spoken to and listened to"
)]

use std::{
    env,
    error::Error,
    fs,
    io::{Cursor, Read as _, Write as _},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// Where each is in the archive, below its one folder.
const FILES: [&str; 5] = [
    "dist/swagger-ui-bundle.js",
    "dist/swagger-ui.css",
    "dist/favicon-32x32.png",
    "LICENSE",
    "NOTICE",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=build.rs");
    unpack_viewer()
}

fn unpack_viewer() -> Result<(), Box<dyn Error>> {
    let folder = env::var("OUT_DIR")?;
    let folder = Path::new(&folder);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let root = archive.by_index(0)?.name()?.into_owned();
    for file in FILES {
        let mut content = Vec::new();
        let mut entry = archive.by_name(&format!("{root}{file}"))?;
        entry.read_to_end(&mut content)?;
        let name = Path::new(file).file_name().unwrap_or_default();
        let path = folder.join(name).with_added_extension("gz");
        fs::write(path, compressed(&content)?)?;
    }
    Ok(())
}

fn compressed(content: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}
