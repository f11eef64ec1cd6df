//! The page in a real browser, while a training runs.

use crate::client::PATIENCE;
use crate::training::{TOKEN, Training, config};
use crate::webdriver::Browser;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dashboard::Config;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Asks until the answer is yes.
fn wait_for(browser: &Browser, what: &str, condition: &str) {
    let begin = Instant::now();
    while browser.script(&format!("return Boolean({condition})")) != true {
        let page = browser.script("return document.body.innerText");
        let errors = browser.errors();
        assert!(errors.is_empty(), "{what}: {errors:?}");
        assert!(begin.elapsed() < PATIENCE, "{what}: {page}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Shows the page on a screen of this width and scheme of colours, and keeps a picture of it if
/// `KEROS_TEST_SCREENSHOTS` names a folder.
fn show(browser: &Browser, name: &str, width: u32, scheme: &str) {
    let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    browser.devtools("Emulation.setEmulatedMedia", &media);
    let phone = width < 600;
    let screen = json!({
        "width": width, "height": 800, "mobile": phone, "deviceScaleFactor": if phone { 2 } else { 1 }
    });
    browser.devtools("Emulation.setDeviceMetricsOverride", &screen);
    // Nothing is wider than the screen, and every button is large enough for a finger.
    wait_for(
        browser,
        "the page fits",
        "document.documentElement.scrollWidth <= innerWidth",
    );
    let small = "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 44).length";
    assert_eq!(browser.script(&format!("return {small}")), 0);
    if let Some(folder) = env::var_os("KEROS_TEST_SCREENSHOTS") {
        let params = json!({ "captureBeyondViewport": true });
        let shot = browser.devtools("Page.captureScreenshot", &params);
        let picture = BASE64_STANDARD
            .decode(shot["data"].as_str().unwrap())
            .unwrap();
        fs::write(
            Path::new(&folder).join(format!("{name}-{scheme}.png")),
            picture,
        )
        .unwrap();
    }
}

#[test]
fn values_that_hardly_differ_are_drawn() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let mut training = Training::begun(config());
    for (batch, loss) in [(0, 1.0), (1, 1.0 - f64::EPSILON / 2.0)] {
        training.batch(0, batch, loss);
        thread::sleep(Duration::from_millis(30));
    }
    browser.go_to(&training.dashboard.url().unwrap());
    // Two values, and an axis at the side and one below.
    wait_for(
        &browser,
        "a curve with its axes",
        "document.querySelector('.chart.first path.raw')?.getAttribute('d').includes('L') \
         && document.querySelectorAll('.chart.first text').length >= 4",
    );
}

#[test]
fn curves_move_and_the_stop_button_stops() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let config = Config {
        linger_s: 3600.0,
        ..config()
    };
    let mut training = Training::new(config, 10_000, 25);
    let (tell, address) = std::sync::mpsc::channel();
    let fit = thread::spawn(move || {
        training
            .send(keros_plugin::EventKind::TrainBegin, [0; 3])
            .unwrap();
        tell.send(training.dashboard.url().unwrap()).unwrap();
        let reason = training.fit(Duration::from_millis(10));
        (training, reason)
    });
    let url = address.recv_timeout(PATIENCE).unwrap();
    browser.go_to(&url);
    wait_for(
        &browser,
        "it trains",
        "document.querySelector('#phase').textContent.match(/training|validating/)",
    );
    assert_eq!(
        browser.script(
            "return document.querySelectorAll('script[src^=http], link[href^=http]').length"
        ),
        0
    );

    // Curves move: the path of the loss grows, epochs get their dots, the progress goes on.
    let path = "document.querySelector('.chart path.raw').getAttribute('d').length";
    wait_for(
        &browser,
        "a curve",
        "document.querySelector('.chart path.raw')",
    );
    let before = browser.script(&format!("return {path}"));
    wait_for(
        &browser,
        "the curve moves",
        &format!("{path} > {before} + 100"),
    );
    wait_for(
        &browser,
        "epochs",
        "document.querySelectorAll('.chart.first circle.dot').length >= 8",
    );
    wait_for(
        &browser,
        "the fifth epoch",
        "parseInt(document.querySelector('#epoch').textContent) >= 5",
    );
    // After many epochs the learning rate has a logarithmic scale.
    let titles = browser.script(
        "return [...document.querySelectorAll('.chart h2')].map(h => h.textContent.replace(' (log scale)', ''))",
    );
    assert_eq!(titles, json!(["loss", "accuracy", "learning rate"]));
    wait_for(
        &browser,
        "the time to go",
        "document.querySelector('#to-go').textContent.startsWith('≈')",
    );

    for scheme in ["light", "dark"] {
        show(&browser, "desktop", 1280, scheme);
        show(&browser, "phone", 390, scheme);
    }

    browser.click("#stop");
    browser.click("dialog button.danger");
    let begin = Instant::now();
    while !fit.is_finished() {
        assert!(begin.elapsed() < PATIENCE, "the training goes on");
        thread::sleep(Duration::from_millis(20));
    }
    let (training, reason) = fit.join().unwrap();
    assert_eq!(reason.as_deref(), Some("stopped in the dashboard"));
    wait_for(
        &browser,
        "the stop is shown",
        "document.querySelector('#phase').textContent === 'stopped'",
    );
    wait_for(
        &browser,
        "no stop button",
        "document.querySelector('#stop').hidden",
    );

    // The page lingers until it is closed, and keeps what it shows.
    let dropped = thread::spawn(move || drop(training));
    browser.click("#close");
    dropped.join().unwrap();
    wait_for(
        &browser,
        "no close button",
        "document.querySelector('#close').hidden",
    );
    assert_eq!(
        browser.script("return document.querySelector('#phase').textContent"),
        "stopped"
    );
    assert_ne!(browser.script(&format!("return {path}")), 0);
    assert!(url.contains(TOKEN));
}
