//! The picture of a confusion matrix: numbers, shares, and names of any form.

use keros_examples::confusion::confusion_svg;

#[test]
fn rows_have_their_counts_and_the_share_that_was_right() {
    let svg = confusion_svg(&["cat", "dog"], &[vec![3, 1], vec![0, 0]]);
    for text in [">3</text>", ">1</text>", ">75 %</text>", ">–</text>"] {
        assert_eq!(svg.matches(text).count(), 1, "{text} in {svg}");
    }
    assert!(!svg.contains(">0</text>"), "no clutter: {svg}");
    // Each name stands at its row and its column.
    assert_eq!(svg.matches(">cat</text>").count(), 2);
    assert_eq!(svg.matches("<rect x=").count(), 4);
}

#[test]
fn names_of_any_form_are_text_and_many_classes_still_have_room() {
    let names: Vec<String> = (0..25)
        .map(|class| format!("<{class}> & a name that is far too long"))
        .collect();
    let counts = vec![vec![1234; 25]; 25];
    let svg = confusion_svg(&names, &counts);
    assert!(
        svg.contains(">&lt;7&gt; &amp; a name that i…</text>"),
        "{svg}"
    );
    let side = |what: &str| -> f64 {
        let value = svg.split(&format!(" {what}=\"")).nth(1).unwrap();
        value.split('"').next().unwrap().parse().unwrap()
    };
    let cell: f64 = svg
        .split("<rect x=")
        .nth(1)
        .and_then(|rest| rest.split("width=\"").nth(1))
        .and_then(|rest| rest.split('"').next())
        .unwrap()
        .parse()
        .unwrap();
    assert!(cell >= 4.0 * 7.5, "four digits fit into {cell} px");
    assert!(side("width") > 25.0 * cell && side("height") > 25.0 * cell);
}
