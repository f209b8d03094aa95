// What only a browser can measure on the page. An expression: evaluated, it is
// an object of functions that return plain values.
(() => {
	const all = (selector) => [...document.querySelectorAll(selector)];
	// Not only in the tree, but with a place on the screen: .hidden has one pixel.
	const seen = (e) => {
		const box = e.getBoundingClientRect();
		return e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && box.width > 1 && box.height > 1;
	};
	const label = (e) => `${e.localName}${e.className ? "." + e.className : ""} "${e.textContent.trim().replace(/\s+/g, " ").slice(0, 60)}"`;
	const colour = (text) => {
		const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
		return { r, g, b, a };
	};
	const over = (top, bottom) => ({
		r: top.r * top.a + bottom.r * (1 - top.a),
		g: top.g * top.a + bottom.g * (1 - top.a),
		b: top.b * top.a + bottom.b * (1 - top.a),
		a: 1,
	});
	const background = (e) => {
		const own = colour(getComputedStyle(e).backgroundColor);
		if (own.a === 1) return own;
		return over(own, e.parentElement ? background(e.parentElement) : { r: 255, g: 255, b: 255, a: 1 });
	};
	const luminance = (c) => {
		const [r, g, b] = [c.r, c.g, c.b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const contrast = (e, pseudo) => {
		const back = background(e);
		const [high, low] = [luminance(over(colour(getComputedStyle(e, pseudo).color), back)), luminance(back)].sort((x, y) => y - x);
		return (high + 0.05) / (low + 0.05);
	};
	const focusable = () => all("a[href], summary, button, input, select, textarea, [tabindex]");
	return {
		// Texts with less contrast than WCAG's level AA asks for text of any size.
		faint() {
			const found = [];
			const check = (e, pseudo, text) => {
				const ratio = contrast(e, pseudo);
				if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${label(e)}${pseudo || ""} ${text.trim().slice(0, 40)}`);
			};
			const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
			while (walk.nextNode()) {
				const e = walk.currentNode.parentElement;
				if (walk.currentNode.data.trim() && seen(e)) check(e, undefined, walk.currentNode.data);
			}
			for (const e of all("[data-label]")) {
				if (seen(e) && getComputedStyle(e, "::before").content !== "none") check(e, "::before", e.dataset.label);
			}
			return found;
		},
		colours: () => ["body", ".chip.good", ".chip.bad", ".chip.known", ".tile", ".glance thead th"].map((s) => {
			const e = document.querySelector(s);
			return [s, getComputedStyle(e).color, `${Object.values(background(e))}`, luminance(background(e)) < luminance(colour(getComputedStyle(e).color)) ? "dark" : "light"];
		}),
		// What is wider than the window, outside what scrolls by itself.
		wide() {
			const width = document.documentElement.clientWidth;
			if (document.scrollingElement.scrollWidth <= width) return [];
			return [`the page is ${document.scrollingElement.scrollWidth} wide and the window ${width}`,
				...all("body *").filter((e) => e.getBoundingClientRect().right > width + 1 && !e.closest(".scroll *")).map(label).slice(0, 5)];
		},
		// The cells' chips: where each leads to, and what of it can be read.
		chips: () => all(".chip").filter(seen).map((e) => ({ href: e.getAttribute("href") || "", text: e.innerText.replace(/\s+/g, " ").trim(), look: e.classList[1] || "" })),
		// What is not on paper although it should be, or the other way round.
		unprinted: () => [
			...all(".cell > .body").filter((e) => !seen(e)).map((e) => `not printed: ${label(e.parentElement)}`),
			...all("pre").filter((e) => e.scrollHeight > e.clientHeight + 1).map((e) => `cut off: ${label(e)}`),
			...all(".scroll").filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible").map((e) => `cut off: ${label(e)}`),
			...all(".skip").filter(seen).map((e) => `printed: ${label(e)}`),
		],
		// Links to places in the page that are not there, and the files of all others.
		links() {
			const dead = all('a[href^="#"]').filter((e) => !document.getElementById(e.getAttribute("href").slice(1)));
			return { dead: dead.map(label), files: all('a[href^="./"]').map((e) => decodeURI(e.getAttribute("href"))) };
		},
		stops: () => focusable().map((e, i) => (seen(e) || e.matches(".skip") ? { i, label: label(e) } : null)).filter(Boolean),
		focus() {
			const e = document.activeElement;
			const style = getComputedStyle(e);
			return { i: focusable().indexOf(e), marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, visible: seen(e) };
		},
		// Where a link to a cell led: whether its details can be seen.
		arrived() {
			const e = document.querySelector(":target");
			if (!e || !seen(e)) return false;
			const top = e.getBoundingClientRect().top;
			return top >= -1 && top < innerHeight;
		},
	};
})()
