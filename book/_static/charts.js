// Charts that answer to touch. A page holds each chart as a picture and, beside it, as a Vega-Lite specification that
// kd_lib/render.py made small. Once a chart comes into view it is drawn from that in the picture's place. Without this
// script, in print, and where anything goes wrong, the picture stays.
(() => {
  "use strict";
  const here = document.currentScript.src;
  const charts = [];
  let vega; // a promise of vegaEmbed; the script is large and loaded once a chart is seen

  const load = () =>
    (vega ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL("vega.js", here).href;
      script.onload = () => resolve(window.vegaEmbed);
      script.onerror = reject;
      document.head.append(script);
    }));

  // A data set is a mapping of columns; one of words is {of: words, at: their numbers}.
  const unpack = (data) => {
    const columns = Object.entries(data).map(([name, column]) => [
      name,
      column.of ? column.at.map((at) => column.of[at]) : column,
    ]);
    const [, first = []] = columns[0] ?? [];
    return first.map((_, row) => Object.fromEntries(columns.map(([name, values]) => [name, values[row]])));
  };

  // Legends answer to a click, too.
  const touchable = (part) => {
    for (const legend of part.legends ?? []) {
      for (const key of ["symbols", "labels"]) {
        legend.encode = { ...legend.encode, [key]: { ...legend.encode?.[key], interactive: true } };
      }
    }
    (part.marks ?? []).forEach(touchable);
    return part;
  };

  const choices = (chart) => chart.spec.usermeta.choices;

  // Every chart of the page that knows the value fades what is not chosen.
  const choose = (field, value) => {
    for (const chart of charts) {
      for (const { name, field: own, values } of choices(chart)) {
        if (own !== field) continue;
        const known = values.includes(value) ? value : null;
        chart.chosen[name] = known;
        chart.lists[name].value = known ?? "";
        chart.view?.signal(name, known).runAsync();
      }
    }
  };

  // What a click on a mark, a legend or an axis means: a choice and its value.
  const touched = (chart, { mark, datum } = {}) => {
    const named = /^legend|^axis/.test(mark?.role ?? "");
    for (const choice of choices(chart)) {
      const value = named ? datum?.value : datum?.[choice.field];
      if (choice.values.includes(value)) return { ...choice, value };
    }
    return null;
  };

  const wake = async (chart) => {
    const { element, spec } = chart;
    const vegaEmbed = await load();
    const place = document.createElement("div");
    place.className = "live";
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", element.querySelector(".picture").getAttribute("aria-label"));
    element.querySelector(".picture").after(place);
    spec.datasets = Object.fromEntries(Object.entries(spec.datasets).map(([name, data]) => [name, unpack(data)]));
    try {
      const options = { mode: "vega-lite", actions: false, renderer: "svg", logLevel: 1, patch: touchable };
      chart.view = (await vegaEmbed(place, spec, options)).view;
    } catch (error) {
      place.remove();
      throw error;
    }
    // A group with no marks in it has nothing to be named after.
    for (const group of place.querySelectorAll('g[role="graphics-symbol"]:empty')) {
      group.removeAttribute("role");
      group.removeAttribute("aria-roledescription");
    }
    element.classList.add("awake");
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0; // the keyboard pushes it as well
    Object.entries(chart.chosen).forEach(([name, value]) => chart.view.signal(name, value));
    chart.view.runAsync();
    chart.view.addEventListener("click", (_, item) => {
      const choice = touched(chart, item ?? undefined);
      if (choice) choose(choice.field, chart.chosen[choice.name] === choice.value ? null : choice.value);
    });
  };

  // One list a choice, for the keyboard and for whoever does not think of clicking.
  const offer = (chart) => {
    const row = document.createElement("div");
    row.className = "choices";
    for (const { name, field, values } of choices(chart)) {
      const label = document.createElement("label");
      const list = document.createElement("select");
      list.append(new Option("all", ""), ...values.map((value) => new Option(value, value)));
      list.addEventListener("change", () => choose(field, values.find((value) => String(value) === list.value) ?? null));
      label.append(`${field} `, list);
      row.append(label);
      chart.lists[name] = list;
    }
    if (row.childElementCount) chart.element.append(row);
  };

  document.addEventListener("DOMContentLoaded", () => {
    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        wake(charts.find(({ element }) => element === target));
      }
    });
    for (const element of document.querySelectorAll(".chart")) {
      const chart = { element, spec: JSON.parse(element.querySelector("script").textContent), chosen: {}, lists: {} };
      charts.push(chart);
      offer(chart);
      seen.observe(element);
    }
  });
})();
