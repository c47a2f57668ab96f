"""Simplified Chinese characters and the Traditional ones of Taiwan: enough to tell the two apart and to read the one as the other.

One character for one character: where a simplified one stands for several (发: 發, 髮; 干: 幹, 乾, 干), the one likelier in
rude or everyday talk is taken; where the simplified form is a Traditional character of its own (后, 里, 只), it is left out.
"""

from __future__ import annotations

_PAIRS = (
    "们們个個这這说說话話对對时時来來会會为為过過么麼没沒还還问問间間样樣见見开開关關长長东東车車马馬鱼魚鸟鳥"
    "龙龍门門风風飞飛电電脑腦视視机機气氣爱愛听聽读讀书書写寫学學实實应應该該让讓认認识識谢謝请請谁誰讲講论論"
    "议議评評词詞语語谈談许許试試诉訴证證误誤课課调調谎謊谓謂变變边邊达達运運远遠进進连連选選适適迟遲遗遺"
    "闭閉闹鬧闻聞阅閱队隊阳陽阴陰陆陸际際险險随隨难難双雙杂雜鸡雞离離乱亂滚滾贱賤贼賊货貨贵貴买買卖賣费費资資"
    "赔賠赢贏输輸赶趕钱錢银銀错錯铁鐵锁鎖针針钟鐘镜鏡废廢庆慶庙廟庄莊厅廳厂廠压壓厌厭历歷厉厲县縣"
    "叹嘆吓嚇吗嗎员員响響哑啞团團园園围圍国國图圖圆圓坏壞块塊坚堅报報场場处處备備复復够夠头頭夹夾夺奪奖獎"
    "妇婦妈媽娱娛宝寶宠寵审審宽寬宾賓导導将將尔爾尘塵尝嘗尽盡层層岁歲岂豈岛島币幣帅帥师師带帶帮幫广廣"
    "张張弹彈强強归歸当當录錄彻徹总總恋戀恶惡恼惱惊驚惧懼惨慘愤憤愿願懒懶戏戲战戰户戶扑撲执執扩擴扫掃扰擾"
    "护護担擔拟擬拥擁择擇挂掛挡擋挤擠挥揮损損换換据據掷擲携攜摄攝摆擺敌敵数數断斷无無旧舊显顯晓曉术術"
    "权權条條极極构構标標树樹桥橋梦夢检檢楼樓欢歡欧歐残殘毁毀毕畢汉漢汤湯沟溝泪淚泼潑洁潔浅淺测測济濟浑渾"
    "浓濃涂塗润潤涨漲温溫渐漸湿濕满滿滥濫灭滅灯燈灵靈灾災炉爐烂爛烦煩烧燒热熱爷爺牵牽犹猶独獨狮獅猪豬"
    "猫貓献獻环環现現玛瑪琐瑣疗療疯瘋痒癢瘫癱皱皺盘盤盖蓋监監盗盜瞒瞞码碼确確祸禍离離种種积積称稱稳穩"
    "穷窮窃竊窝窩竞競笔筆笼籠签簽简簡类類粪糞紧緊纠糾红紅约約级級纪紀纯純纲綱纳納纷紛纸紙线線练練组組细細织織"
    "终終经經绍紹结結绕繞给給绝絕统統继繼绩績绪緒续續维維绿綠网網缓緩编編缘緣缠纏罗羅罚罰罢罷职職联聯聪聰肃肅"
    "肤膚肠腸肿腫胀脹胆膽胜勝脏髒脱脫脸臉腻膩艰艱艳豔艺藝节節芜蕪苏蘇苹蘋药藥荡蕩荣榮获獲莲蓮虏虜虑慮"
    "虚虛虫蟲虽雖蚂螞蛮蠻蜗蝸蝇蠅补補衬襯装裝观觀规規觉覺览覽触觸誉譽计計订訂讨討训訓记記讯訊设設访訪诈詐诚誠"
    "诞誕详詳诬誣诱誘谋謀谣謠负負贡貢财財责責败敗账賬质質贪貪贫貧贴貼贺賀赌賭赏賞赖賴跃躍践踐踪蹤轨軌转轉轮輪"
    "软軟轻輕载載较較辆輛辈輩辉輝辑輯辩辯迁遷迈邁违違迷迷邓鄧邮郵郑鄭释釋钓釣钢鋼钥鑰铃鈴铅鉛链鏈锅鍋键鍵锻鍛"
    "阔闊阵陣阶階陈陳隐隱韩韓页頁顶頂项項顺順须須顽頑顾顧预預领領颜顏题題额額饭飯饮飲饿餓馆館驴驢骂罵骑騎骗騙骚騷"
    "鲁魯鲜鮮鸭鴨鸣鳴鸿鴻麦麥黄黃齐齊齿齒亲親亿億仅僅从從仓倉仪儀众眾优優伟偉传傳伤傷伦倫伪偽"
    "体體侠俠侦偵侧側俩倆债債倾傾偿償储儲儿兒党黨兰蘭兴興养養兽獸农農军軍冲衝决決况況冻凍净淨凉涼减減"
    "凤鳳凯凱击擊刘劉则則刚剛创創删刪别別剧劇剂劑劝勸办辦务務动動励勵劲勁劳勞势勢区區医醫华華协協单單卢盧卫衛"
    "却卻厕廁县縣参參发發号號吕呂呕嘔呜嗚唤喚啰囉嘱囑孙孫弃棄怀懷态態怜憐惯慣惩懲戆戇扬揚抚撫抛拋"
    "抢搶拦攔拧擰拨撥挠撓捞撈搅攪摇搖撑撐击擊攒攢杀殺杨楊枪槍柜櫃档檔桩樁橱櫥毙斃殴毆价價万萬"
)
#: ``str.translate`` table from simplified to Traditional.
TO_TRADITIONAL: dict[int, str] = {
    ord(simple): traditional
    for simple, traditional in zip(_PAIRS[::2], _PAIRS[1::2], strict=True)
    if simple != traditional
}
#: Characters that only simplified Chinese writes.
SIMPLIFIED = frozenset(chr(code) for code in TO_TRADITIONAL)
#: Characters that only Traditional Chinese writes.
TRADITIONAL = frozenset(TO_TRADITIONAL.values())
