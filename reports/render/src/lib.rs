//! A record as HTML, Markdown, JSON and JUnit; the comparison of two labs.
