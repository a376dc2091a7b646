//! Writes the pages of made-up runs into a directory, to be looked at in a browser after a change of style:
//! `cargo run -p scalebed-render --example preview -- DIR`.

#[path = "../tests/example/mod.rs"]
mod example;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("name a directory")?;
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("maestro.html"), scalebed_render::html(&example::record("maestro", true))?)?;
    std::fs::write(dir.join("elasticxl.html"), scalebed_render::html(&example::record("elasticxl", true))?)?;
    std::fs::write(dir.join("steady.html"), scalebed_render::html(&example::record("maestro", false))?)?;
    let hostile = example::hostile(&example::record("maestro", true));
    std::fs::write(dir.join("hostile.html"), scalebed_render::html(&hostile)?)?;
    std::fs::write(dir.join("comparison.html"), scalebed_render::comparison_html(&example::comparison())?)?;
    println!("{}", scalebed_render::comparison_text(&example::comparison()));
    Ok(())
}
