// Scripts by name, from their texts (first_page.py), and those that stand elsewhere. A script made of a text has no place of its own:
// what it imports is named in full.
((texts, moved) => {
    if (!HTMLScriptElement.supports?.("importmap")) return;
    const place = new URL("./assets/", document.baseURI).href;
    const imports = {};
    for (const [name, text] of Object.entries(texts)) {
        const whole = text.replace(/(["'`])\.\/([\w.-]+\.(?:js|css))\1/g, (found, quote, other) => quote + place + other + quote);
        imports[place + name] = URL.createObjectURL(new Blob([whole], { type: "text/javascript" }));
    }
    for (const [name, other] of Object.entries(moved)) imports[place + name] = place + other;
    for (const script of Object.keys(imports)) {
        // Gradio's scripts fetch ahead what the page has no link to
        document.head.append(Object.assign(document.createElement("link"), { rel: "gathered", href: script }));
    }
    const map = document.createElement("script");
    map.type = "importmap";
    map.textContent = JSON.stringify({ imports });
    document.head.append(map);
})
