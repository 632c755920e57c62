// What STAC Browser opens, and how. CATALOG, the address of a catalog or an API relative to this file, is stated
// in a line before.
window.STAC_BROWSER_CONFIG = {
  catalogUrl: new URL(CATALOG, document.currentScript.src).href,
  catalogTitle: "DeepSentinel",
  allowExternalAccess: false, // it shows this catalog, not whatever address a link carries
  itemsPerPage: 24, // rows of 2, 3 and 4 cards
  searchResultsPerPage: 24,
  socialSharing: [],
  // Two corrections of pictures on the map. STAC Browser takes the first overview, a radar image: the true-colour
  // thumbnail says more. It lays it over the UTM box around the item's box in degrees, 6 % too large where meridians
  // converge by 2 degrees: the item states the true box of its pixels.
  getMapSourceOptions: (type, options, picture) => {
    if (!("imageExtent" in options)) return options;
    const thumbnail = picture.getContext().assets.thumbnail;
    const inItsOwn = options.projection?.getCode?.() === picture.getMetadata("proj:code");
    const imageExtent = (inItsOwn && picture.getMetadata("proj:bbox")) || options.imageExtent;
    return { ...options, imageExtent, url: thumbnail?.getAbsoluteUrl() ?? options.url };
  },
};
