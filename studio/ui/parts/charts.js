// Charts that stay where a person zoomed while points are added (live_chart.py). Plotly, the largest thing a page loads, comes with the
// first chart that is seen; its own words are the page's language.
window.studioChart = (() => {
    let plotly = null; // a promise of it
    const SEEN = 160; // pixels of a chart that have to be in view

    async function load(url) {
        const names = (part, days) => [...Array(days ? 7 : 12)].map((_, at) =>
            // 2023 began on a Sunday
            new Date(2023, days ? 0 : at, days ? at + 1 : 1).toLocaleDateString(window.studioLanguage, { [days ? "weekday" : "month"]: part }));
        await import(new URL(url, document.baseURI).href);
        window.Plotly.register({
            moduleType: "locale",
            name: "studio",
            dictionary: {
                "Autoscale": tr("Autoscale"),
                "Box Select": tr("Box select"),
                "Double-click on legend to isolate one trace": tr("Double-click on the legend to see one line alone"),
                "Double-click to zoom back out": tr("Double-click to zoom back out"),
                "Download plot as a PNG": tr("Download chart as PNG"),
                "Lasso Select": tr("Lasso select"),
                "Pan": tr("Pan"),
                "Reset axes": tr("Reset axes"),
                "Zoom": tr("Zoom"),
                "Zoom in": tr("Zoom in"),
                "Zoom out": tr("Zoom out"),
            },
            format: { days: names("long", true), shortDays: names("short", true), months: names("long"), shortMonths: names("short") },
        });
    }

    // where they would be too narrow side by side, the charts of one figure stand in fewer columns
    function regrid(layout, charts, columns) {
        const rows = Math.ceil(charts / columns), gap = 0.08, width = (1 - gap * (columns - 1)) / columns;
        for (let i = 0; i < charts; i++) {
            const n = i ? i + 1 : "", left = (i % columns) * (width + gap), top = 1 - Math.floor(i / columns) / rows;
            Object.assign(layout["xaxis" + n], { domain: [left, left + width] });
            Object.assign(layout["yaxis" + n], { domain: [top - 0.66 / rows, top] });
            Object.assign(layout.annotations[i], { x: left + width / 2, y: top });
        }
        layout.height = 270 * rows;
        const inside = layout.meta?.legend_in; // the chart that the legend belongs to
        if (inside === undefined) layout.legend.y = -0.2 / rows;
        else Object.assign(layout.legend, { x: (inside % columns) * (width + gap) + 0.02, y: 1 - Math.floor(inside / columns) / rows - 0.01 / rows });
    }

    return ({ element, props, watch }, url) => {
        const area = document.createElement("div"); // ours, put back should Gradio render the template anew
        let width = 0, near = false;

        async function draw() {
            if (!area.isConnected) element.replaceChildren(area);
            // its place, also before it is drawn
            area.style.minHeight = props.value ? `${JSON.parse(props.value).layout.height ?? 0}px` : "";
            if (!props.value) return window.Plotly?.purge(area);
            if (!near) return;
            await (plotly ??= load(url));
            if (!props.value) return;
            const figure = JSON.parse(props.value);
            const quiet = getComputedStyle(element).getPropertyValue("--body-text-color").trim();
            figure.layout.font = Object.assign({}, figure.layout.font, quiet ? { color: quiet } : {});
            const charts = Object.keys(figure.layout).filter((key) => key.startsWith("yaxis")).length;
            width = area.clientWidth;
            const columns = width < 560 ? 1 : width < 860 && charts > 4 ? 2 : 0;
            if (columns && charts > 1) regrid(figure.layout, charts, columns);
            if (width) figure.layout.width = width;
            window.Plotly.react(area, figure.data, figure.layout, { displaylogo: false, locale: "studio" });
        }

        // drawn in a tab nobody looks at, it has no width to fill until it is shown; and a phone may be turned. Not Plots.resize:
        // that forgets the height (nor responsive, which calls it).
        new ResizeObserver(() => {
            if (area.clientWidth && area.clientWidth !== width && area.data) draw();
        }).observe(area);
        new IntersectionObserver((entries, observer) => {
            const seen = entries.at(-1).intersectionRect.height;
            if (!seen || seen < Math.min(SEEN, 0.9 * area.clientHeight)) return;
            near = true;
            observer.disconnect();
            draw();
        }, { threshold: [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1] }).observe(area);
        watch("value", draw);
        draw();
    };
})();
