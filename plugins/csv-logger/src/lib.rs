//! A keros callback plugin that writes a CSV row per epoch.
