// In front of Gradio's script core-*.js (first_page.py), for two of its lookups. A component is looked for where it was last found: by its
// way, places among children, from the page's root; a page that is made anew has another root. The names of components' events are
// gathered once.
const studioWays = new WeakMap(); // by root
const studioEvents = new WeakMap(); // by list of events

function studioMap(node, way, ways) {
    if (!ways.has(node.id)) ways.set(node.id, way);
    (node.children ?? []).forEach((child, place) => studioMap(child, [...way, place], ways));
    return ways;
}

function studioFind(root, id) {
    const find = (ways) => ways?.get(id)?.reduce((node, place) => node?.children?.[place], root);
    let node = find(studioWays.get(root));
    if (node?.id !== id) {
        const ways = studioMap(root, [], new Map());
        studioWays.set(root, ways);
        node = find(ways);
    }
    return node ?? null;
}

function studioAttach(node, events) {
    let names = studioEvents.get(events);
    if (!names) {
        studioEvents.set(events, (names = new Map()));
        for (const { targets } of events) {
            const first = new Map([...targets].reverse());
            for (const [id, name] of first) if (name) names.set(id, [...(names.get(id) ?? []), name]);
        }
    }
    node.props.shared_props.attached_events = [...(names.get(node.id) ?? [])];
    return node;
}
